//! The Debian package: it is built without network, contains what the unit needs, and the unit is hardened.

use slotkeeper_tests::dispatcher::binary;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is a folder of the project")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn run(command: &mut Command) -> String {
    let output = command.current_dir(project()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    said(&output)
}

/// Builds the package of the program that the tests use.
fn build() -> PathBuf {
    let mut command = Command::new("packaging/deb");
    let said = run(command.arg(binary("slotkeeper")).env("SOURCE_DATE_EPOCH", "1700000000").env("COMPRESSION", "none"));
    project().join(said.lines().last().unwrap())
}

#[test]
fn the_package_has_the_program_a_valid_configuration_and_a_hardened_unit() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let package = build();
    let bytes = std::fs::read(&package).unwrap();
    run(Command::new("dpkg-deb").arg("--raw-extract").arg(&package).arg(&root));
    assert!(std::fs::read(build()).unwrap() == bytes, "the package of one program is always the same");
    let control = std::fs::read_to_string(root.join("DEBIAN/control")).unwrap();
    assert!(control.contains("Package: slotkeeper\n") && control.contains("Depends: libc6 (>= 2."), "{control}");
    assert_eq!(std::fs::read_to_string(root.join("DEBIAN/conffiles")).unwrap(), "/etc/slotkeeper/slotkeeper.toml\n");
    for script in ["postinst", "prerm", "postrm"] {
        run(Command::new("sh").arg("-n").arg(root.join("DEBIAN").join(script)));
    }
    let program = root.join("usr/bin/slotkeeper");
    let checked =
        run(Command::new(&program).arg("check").arg("--config").arg(root.join("etc/slotkeeper/slotkeeper.toml")));
    assert!(checked.contains("[pools.app]"), "{checked}");
    let unit = root.join("lib/systemd/system/slotkeeper.service");
    // 2.0, in tenths.
    let security = ["security", "--offline=true", "--no-pager", "--threshold=20"];
    let exposure = run(Command::new("systemd-analyze").args(security).arg(&unit));
    assert!(exposure.contains("Overall exposure level"), "{exposure}");
    // With the paths of the unpacked files, since it is not installed.
    let text = std::fs::read_to_string(&unit).unwrap().replace("/usr/bin/slotkeeper", &program.display().to_string());
    let local = folder.path().join("slotkeeper.service");
    std::fs::write(&local, text).unwrap();
    std::fs::copy(project().join("packaging/slotkeeper.socket"), folder.path().join("slotkeeper.socket")).unwrap();
    let verified = run(Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args([&local, &folder.path().join("slotkeeper.socket")]));
    assert!(!verified.contains("slotkeeper"), "no complaint about the units: {verified}");
}
