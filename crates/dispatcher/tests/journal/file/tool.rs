//! `slotkeeper journal`: the real program, on sound and damaged folders.

use super::{checkpoint, clock, contents, draft, names, read, segment, written};
use slotkeeper::journal::Draft;
use slotkeeper::journal::file;
use slotkeeper_core::{Command, Fleet, Ordinal, Phase, ReplicaId, Sighting, Timeline};
use std::fs;
use std::path::Path;

/// Exit code, standard output, standard error.
fn tool(arguments: &[&str], folder: &Path) -> (i32, String, String) {
    let program = env!("CARGO_BIN_EXE_slotkeeper");
    let output =
        std::process::Command::new(program).arg("journal").args(arguments).arg(folder).env_clear().output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Entries up to 9, checkpoints at 4 and 7.
async fn kept(folder: &Path) {
    let mut journal = file::open(folder, clock()).unwrap();
    let mut fleet = Fleet::new();
    for number in 1..=9 {
        journal.append.append(vec![draft(number)]).await.unwrap();
        let slotkeeper::journal::ReadResult::Entries(entries) = journal.follow.next().await.unwrap() else { panic!() };
        let _ = fleet.apply(&entries[0]);
        if [4, 7].contains(&number) {
            journal.keep.as_mut().unwrap().keep(fleet.clone().into()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn check_reports_the_content_and_whether_it_is_sound() {
    let dir = tempfile::tempdir().unwrap();
    kept(dir.path()).await;
    let before = contents(dir.path());
    let (code, out, _) = tool(&["check"], dir.path());
    assert_eq!(code, 0, "{out}");
    for line in [
        "5 sessions in 1 pools",
        "entries 8 to 9",
        "a dispatcher starts from the checkpoint of entry 7, and continues to entry 9 of 2023-11-14T22:13:20",
        "\nsound\n",
    ] {
        assert!(out.contains(line), "{line}\n{out}");
    }
    assert_eq!(contents(dir.path()), before);

    let file = segment(dir.path(), 8);
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    let (code, out, _) = tool(&["check"], dir.path());
    assert!(code == 0 && out.contains("the last record is incomplete, as after a crash"), "{out}");

    fs::write(&file, &whole[30..]).unwrap();
    let (code, out, _) = tool(&["check"], dir.path());
    assert!(code == 1 && out.contains("not sound: entries-00000000000000000008, line 1 (byte 0)"), "{out}");
    assert!(out.contains("a repair keeps it up to entry 7"), "{out}");

    let (code, _, error) = tool(&["check"], &dir.path().join("none"));
    assert_eq!((code, error), (1, format!("slotkeeper: there is no folder {}\n", dir.path().join("none").display())));
}

#[tokio::test]
async fn a_folder_in_use_can_be_checked_but_not_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let journal = file::open(dir.path(), clock()).unwrap();
    let (code, out, _) = tool(&["check"], dir.path());
    assert_eq!(code, 0);
    assert!(out.starts_with(&format!("in use by process {}", std::process::id())), "{out}");
    assert!(out.contains("there are no entries"), "{out}");
    let (code, _, error) = tool(&["repair"], dir.path());
    assert!(code == 1 && error.contains("is in use by process"), "{error}");
    drop(journal);
}

#[tokio::test]
async fn show_prints_entries_without_their_secrets() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 5).await;
    let (code, out, _) = tool(&["show", "--from", "3", "--to", "4"], dir.path());
    assert_eq!(code, 0);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 2, "{out}");
    assert!(lines[0].starts_with("       3  2023-11-14T22:13:20.0"), "{out}");
    assert!(lines[0].contains("r:000007 3      games  Visit { session: s:"), "{out}");
    let Command::Visit { session, .. } = draft(3).command else { panic!() };
    assert!(!out.contains(&session.0.to_string()) && !out.contains(&format!("{:x}", session.0)));
}

#[tokio::test]
async fn replay_prints_what_each_entry_did() {
    let dir = tempfile::tempdir().unwrap();
    kept(dir.path()).await;
    let (code, out, _) = tool(&["replay"], dir.path());
    assert_eq!(code, 0);
    assert!(out.starts_with("from the checkpoint of entry 7: 5 sessions\n       8  "), "{out}");
    assert!(out.contains("games: sessions queued 7, held 0"), "{out}");
    let (_, out, _) = tool(&["replay", "--at", "6"], dir.path());
    assert!(out.starts_with("after entry 6, ") && out.contains("queued 4,"), "{out}");
    let plain = tempfile::tempdir().unwrap();
    let phase = Phase::Ready { address: ([127, 0, 0, 1], 80).into() };
    let pods = vec![Sighting { pod: Ordinal(0), uid: "uid".into(), phase }];
    let listed = Draft { command: Command::PodsListed { pods, version: 1 }, ..draft(3) };
    let size = Command::ScaleSeen { start: 0, replicas: 1, decided: 0, timeline: Timeline::FIRST, version: 1 };
    let (size, visit) = (Draft { command: size, ..draft(4) }, Draft { number: 5, ..draft(3) });
    let mut journal = file::open(plain.path(), clock()).unwrap();
    journal.append.append(vec![draft(1), draft(2), listed, size, visit]).await.unwrap();
    drop(journal);
    let (_, effects, _) = tool(&["replay"], plain.path());
    assert!(effects.contains("\n          -> games  Scale { start: 0, replicas: 1, "), "{effects}");
    let (code, _, error) = tool(&["replay", "--at", "3"], dir.path());
    assert!(code == 1 && error.contains("entry 3 does not exist any more, or not yet"), "{error}");
}

#[tokio::test]
async fn repair_keeps_the_sound_part_and_reports_what_was_lost() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 8).await;
    let (code, out, _) = tool(&["repair"], dir.path());
    assert!(code == 0 && out.contains("there is nothing to repair: the journal is sound up to entry 8"), "{out}");

    let file = segment(dir.path(), 1);
    let mut bytes = fs::read(&file).unwrap();
    let line = bytes.iter().enumerate().filter(|(_, b)| **b == b'\n').nth(5).unwrap().0 + 1;
    bytes[line + 20] ^= 1;
    fs::write(&file, &bytes).unwrap();
    assert!(file::open(dir.path(), clock()).is_err());
    let (code, out, _) = tool(&["repair"], dir.path());
    assert_eq!(code, 0);
    let moved = "damaged-entries-00000000000000000001";
    for part in [&format!("from byte {line} on is now {moved}; still readable: entries 7 to 8"), "kept: 5 entries"] {
        assert!(out.contains(part), "{out}");
    }
    assert_eq!(fs::read(dir.path().join(moved)).unwrap(), bytes[line..]);

    let mut journal = file::open(dir.path(), clock()).unwrap();
    let again = read(&mut journal, 6).await;
    assert!(matches!(again.entries[5].command, Command::Lapse { .. }) && again.entries[5].from == ReplicaId(0));
    assert!(again.fleet.is_quiet());
}

#[tokio::test]
async fn repair_of_every_kind_of_damage_leads_to_a_journal_that_opens() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    kept(folder).await;
    let whole = contents(folder);
    let (c4, c7, e5, e8) = (checkpoint(folder, 4), checkpoint(folder, 7), segment(folder, 5), segment(folder, 8));
    let foreign = |path: &Path| fs::write(path, "foreign").unwrap();
    let gone = |path: &Path| fs::remove_file(path).unwrap();
    let newer = |path: &Path| fs::write(path, "slotkeeper-checkpoint 9 7\n").unwrap();
    // The damage, and the last entry that a repair keeps.
    let table: &[(&dyn Fn(), u64)] = &[
        (&|| gone(&e8), 7),
        (&|| foreign(&e8), 7),
        (&|| [&c4, &c7].map(|c| foreign(c)).into_iter().collect(), 0),
        (&|| newer(&c7), 9),
        (&|| (foreign(&c7), gone(&e8)).0, 7),
        (&|| (foreign(&c7), foreign(&e5)).0, 4),
        (&|| (gone(&e5), gone(&e8)).0, 7),
        (&|| [&c4, &c7, &e5].map(|c| gone(c)).into_iter().collect(), 0),
        (&|| [&c4, &c7, &e5, &e8].map(|c| foreign(c)).into_iter().collect(), 0),
    ];
    for (row, (harm, kept)) in table.iter().enumerate() {
        for name in names(folder) {
            fs::remove_file(folder.join(name)).unwrap();
        }
        for (name, content) in &whole {
            fs::write(folder.join(name), content).unwrap();
        }
        harm();
        assert!(file::open(folder, clock()).is_err(), "{row}");
        let (code, out, error) = tool(&["repair"], folder);
        assert_eq!(code, 0, "{row}: {out}{error}");
        assert!(out.contains(&format!("kept: {kept} entries")), "{row}: {out}");
        let mut journal = file::open(folder, clock()).unwrap();
        assert_eq!(read(&mut journal, kept + 1).await.fleet.applied(), kept + 1, "{row}: {out}");
        drop(journal);
        assert_eq!(tool(&["check"], folder).0, 0, "{row}");
    }
}
