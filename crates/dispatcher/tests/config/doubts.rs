//! Settings that are valid but look wrong on this machine: a warning, not an error.

use slotkeeper::config::{doubts, parse};
use std::path::Path;

fn warnings(text: &str, folder: &Path) -> Vec<String> {
    let config = parse(text, "file", folder).unwrap_or_else(|e| panic!("{e}"));
    doubts(&config)
}

#[test]
fn commands_that_cannot_run_and_missing_folders_are_warned_about() {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("notes.txt"), "").unwrap();
    let folder = place.path().display();
    let said = warnings(
        "[journal]\nat = 'memory'\n[pools.a.processes]\ncommand = ['slotkeeper-no-such-program']\nworking_folder = 'none'\n\
         data_folder = 'notes.txt/data'\nenvironment = { PATH = '/nowhere' }\n\
         [pools.b]\npath = '/b'\n[pools.b.processes]\ncommand = ['./notes.txt']\ndata_folder = 'b'\n\
         [pools.c]\npath = '/c'\n[pools.c.processes]\ncommand = ['./none']\ndata_folder = 'c'\nuser = 'slotkeeper-nobody'\n",
        place.path(),
    );
    let expected = [
        "file:4: key `pools.a.processes.command[0]`: there is no program slotkeeper-no-such-program in any folder of PATH (/nowhere)".to_owned(),
        format!("file:5: key `pools.a.processes.working_folder`: there is no folder {folder}/none on this machine"),
        format!("file:6: key `pools.a.processes.data_folder`: {folder}/notes.txt is not a folder"),
        format!("file:11: key `pools.b.processes.command[0]`: {folder}/./notes.txt may not be executed: it is a folder, or not marked as a program"),
        format!("file:16: key `pools.c.processes.command[0]`: there is no program {folder}/./none on this machine"),
        "file:18: key `pools.c.processes.user`: there is no user \"slotkeeper-nobody\" in /etc/passwd".to_owned(),
    ];
    assert_eq!(said, expected);
}

#[test]
fn shell_syntax_in_arguments_is_warned_about() {
    let place = tempfile::tempdir().unwrap();
    let said = warnings(
        "[journal]\nat = 'memory'\n[pools.a.processes]\ncommand = ['sh', '~/x', '--dir', '$HOME/y', '--port={prot}']\n\
         data_folder = '~/data'\nenvironment = { A = '$B' }\n",
        place.path(),
    );
    let shell = "arguments are not interpreted by a shell";
    let at = "file:4: key `pools.a.processes.command";
    let expected = [
        format!("{at}[1]`: \"~/x\": ~ stays as it is, {shell}; write the folder"),
        format!("{at}[3]`: \"$HOME/y\": $HOME stays as it is, {shell}; write its value, or run sh -c with it"),
        format!(
            "{at}[4]`: \"--port={{prot}}\": {{prot}} stays as it is; what is filled in: {{ordinal}}, {{port}}, {{host}}, \
             {{data}}, {{pool}}"
        ),
        "file:5: key `pools.a.processes.data_folder`: ~ stays as it is; write the folder".to_owned(),
        format!(
            "file:6: key `pools.a.processes.environment.A`: \"$B\": $B stays as it is, {shell}; write its value, or run \
             sh -c with it"
        ),
    ];
    assert_eq!(said, expected);
    let said = warnings(
        "[journal]\nat = 'memory'\n[pools.a.processes]\ncommand = ['sh', '--home={session}']\ndata_folder = 'data/{session}'\n",
        place.path(),
    );
    let why = "{session} stays as it is: pods start before it is known whose they will be, see \"Data that follow a person\" in OPERATING.md";
    let expected = [
        format!(
            "file:4: key `pools.a.processes.command[1]`: \"--home={{session}}\": {why}; what is filled in: {{ordinal}}, {{port}}, \
             {{host}}, {{data}}, {{pool}}"
        ),
        format!("file:5: key `pools.a.processes.data_folder`: {why}"),
    ];
    assert_eq!(said, expected);
    // The argument after sh -c is a script.
    let good = "[journal]\nat = 'memory'\n[pools.a.processes]\ncommand = ['sh', '-c', 'exec x $PORT ~/y {data}']\ndata_folder = 'data'\n";
    assert_eq!(warnings(good, place.path()), Vec::<String>::new());
    let plain = good.replace("'sh', '-c'", "'cat'");
    assert_eq!(warnings(&plain, place.path()).len(), 1);
}

#[test]
fn settings_without_the_expected_effect_are_warned_about() {
    let place = tempfile::tempdir().unwrap();
    let text = "[journal]\nat = 'memory'\n[pools.a.processes]\ncommand = ['sh']\ndata_folder = 'data'\ndata = 'wipe'\n\
                on_restart = 'adopt'\ncgroup = 'off'\nlimits = { cpus = 1 }\n";
    let said = warnings(text, place.path());
    let begins =
        ["data`: a pod is not restarted", "on_restart`: pods keep running, but", "limits`: no control group can hold"];
    assert_eq!(said.len(), begins.len(), "{said:#?}");
    for (line, begin) in said.iter().zip(begins) {
        assert!(line.contains(&format!("key `pools.a.processes.{begin}")), "{line}");
    }
    let files = text.replace("cpus = 1", "files = 64");
    assert_eq!(warnings(&files, place.path()).len(), 2, "every machine can limit open files");
}

#[test]
fn files_and_folders_that_other_users_can_access_are_warned_about() {
    use std::os::unix::fs::PermissionsExt;
    let place = tempfile::tempdir().unwrap();
    let mode = |name: &str, mode| {
        std::fs::set_permissions(place.path().join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    std::fs::write(place.path().join("keys"), "ab".repeat(32)).unwrap();
    std::fs::create_dir(place.path().join("journal")).unwrap();
    let text = "cookie_keys_file = 'keys'\n[journal]\nat = 'file:journal'\n[pools.a.fixed]\npods = ['h:1']\n";
    mode("keys", 0o600);
    mode("journal", 0o700);
    assert_eq!(warnings(text, place.path()), Vec::<String>::new());
    mode("keys", 0o644);
    mode("journal", 0o777);
    let said = warnings(text, place.path());
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said[0].starts_with("file:1: key `cookie_keys_file`: ") && said[0].contains("read by every user (mode 0644)")
    );
    assert!(said[1].starts_with("the journal: ") && said[1].contains("written by other users (mode 0777)"), "{said:?}");
}
