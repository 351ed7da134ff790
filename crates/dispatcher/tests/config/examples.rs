use slotkeeper::config::{ClusterConfig, Config, describe, read};
use std::path::{Path, PathBuf};

fn examples() -> Vec<(PathBuf, String, Config)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    let mut all: Vec<_> = files
        .map(|path| {
            let config = read(&path).unwrap_or_else(|error| panic!("{error}"));
            (path.clone(), std::fs::read_to_string(path).unwrap(), config)
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

#[test]
fn every_example_is_read_and_described() {
    let examples = examples();
    assert_eq!(examples.len(), 5);
    for (path, _, config) in examples {
        let text = describe(&config);
        for pool in &config.pools {
            assert!(text.contains(&format!("[pools.{}]", pool.id)), "{}", path.display());
        }
    }
}

#[test]
fn every_example_contains_its_command_line() {
    for (path, text, _) in examples() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(text.starts_with("# "), "{name}");
        assert!(text.contains(&format!("slotkeeper serve --config examples/{name}")), "{name}");
    }
}

#[test]
fn examples_run_only_what_this_project_builds() {
    for (path, _, config) in examples() {
        for pool in &config.pools {
            if let ClusterConfig::Processes(processes) = &pool.cluster {
                let program = processes.command.first().unwrap();
                let ours = ["console", "gateway"].map(|name| format!("/../target/release/slotkeeper-{name}"));
                assert!(ours.iter().any(|own| program.ends_with(own)), "{}: {program}", path.display());
            }
        }
    }
}
