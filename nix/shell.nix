# What the README's commands need.
{
  mkShell,
  cargo,
  clippy,
  rustc,
  rustfmt,
}:
mkShell {
  packages = [
    cargo
    clippy
    rustc
    rustfmt
  ];
}
