//! The table of paths.

use crate::project;
use slotkeeper_api::{Failure, Miss, Operation, Parameters, ROUTES, Role, Verb, find};
use std::collections::BTreeSet;

const ANA: Parameters<'_> = Parameters { pool: "games", session: "0123abcd", ordinal: "7" };

#[test]
fn every_path_that_a_client_writes_is_found_again() {
    let ids: BTreeSet<_> = ROUTES.iter().map(|r| r.id).collect();
    assert_eq!(ids.len(), ROUTES.len(), "each operation has an id of its own");
    for route in ROUTES {
        let path = route.operation.path(ANA);
        let (found, parameters) = find(route.verb.name(), &path).unwrap();
        assert_eq!(found.operation, route.operation, "{path}");
        let has = |name| route.parameters().any(|p| p.name == name);
        assert_eq!(parameters.pool, if has("pool") { "games" } else { "" }, "{path}");
        assert_eq!(parameters.session, if has("session") { "0123abcd" } else { "" }, "{path}");
        assert_eq!(parameters.ordinal, if has("ordinal") { "7" } else { "" }, "{path}");
        assert_eq!(route.path.matches('{').count(), route.parameters().count(), "{path}: each parameter is described");
    }
}

#[test]
fn only_what_is_in_the_table_is_found() {
    let operation = |method, path| find(method, path).map(|(route, _)| route.operation);
    assert_eq!(operation("GET", "/api/v1/pools/"), Ok(Operation::ListPools));
    assert_eq!(operation("HEAD", "/api/v1/pools/games"), Ok(Operation::GetPool));
    for path in
        ["/", "", "//", "/api", "/api/v2/pools", "/api/v1/pools/a/b", "/api/v1/pools/a/pods/0/delete", "/healthz/x"]
    {
        assert_eq!(operation("GET", path), Err(Miss::Path), "{path}");
    }
    assert_eq!(operation("PUT", "/api/v1/pools/games"), Err(Miss::Method(vec![Verb::Get, Verb::Delete])));
    assert_eq!(operation("GET", "/api/v1/pools/games/pods/0/drain"), Err(Miss::Method(vec![Verb::Post])));
    assert_eq!(operation("HEAD", "/api/v1/pools/games/pods/0/drain"), Err(Miss::Method(vec![Verb::Post])));
    assert_eq!(operation("post", "/api/v1/pools/games/pods/0/drain"), Err(Miss::Method(vec![Verb::Post])));
}

#[test]
fn a_value_cannot_change_the_operation_that_a_client_calls() {
    let path = Operation::GetPool.path(Parameters { pool: "a/sessions?x#é", ..ANA });
    assert_eq!(path, "/api/v1/pools/a%2Fsessions%3Fx%23%C3%A9");
    assert_eq!(find("GET", &path).unwrap().0.operation, Operation::GetPool);
}

#[test]
fn an_operation_that_changes_something_requires_the_role_operate() {
    for route in ROUTES {
        let changes = route.verb != Verb::Get;
        assert_eq!(route.role == Role::Operate, changes, "{}", route.id);
        let needs_token = route.failures().any(|f| f.status == 401);
        assert_eq!(route.role == Role::Probe, !needs_token, "{}", route.id);
        let statuses: Vec<u16> = route.failures().map(|f: &Failure| f.status).collect();
        assert!(statuses.iter().all(|s| (400..600).contains(s)), "{}: {statuses:?}", route.id);
    }
}

#[test]
fn the_manual_has_exactly_the_paths_of_the_table() {
    let manual = std::fs::read_to_string(project().join("crates/dispatcher/OPERATING.md")).unwrap();
    let (_, section) =
        manual.split_once("\n## The admin listener\n").expect("OPERATING.md has a section on the admin listener");
    let section = section.split("\n## ").next().unwrap();
    let documented: BTreeSet<String> = section
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `/")?.split('|').map(str::trim);
            let path = cells.next()?.trim_end_matches('`').to_owned();
            Some(format!("{} /{path}", cells.next()?))
        })
        .collect();
    let name = |path: &str| path.replace("{pool}", "POOL").replace("{session}", "NAME").replace("{ordinal}", "ORDINAL");
    let table = ROUTES.iter().map(|r| format!("{} {}", r.verb.name(), name(r.path))).collect();
    assert_eq!(documented, table);
}
