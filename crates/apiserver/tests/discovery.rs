//! The discovery that a client such as kubectl performs before its first request.

use slotkeeper_apiserver::{Resource, Server};

use crate::client::ask;

async fn get(server: &Server, path: &str) -> serde_json::Value {
    let answer = ask(server, "GET", path, &[], "").await.unwrap();
    assert_eq!(answer.status, 200, "{path}");
    answer.json().await
}

#[tokio::test]
async fn every_resource_is_announced_by_its_group() {
    let server = Server::on_tokio_time(0);
    let groups = get(&server, "/apis").await;
    for resource in Resource::ALL {
        let (group, api) = (resource.group(), resource.api_version());
        let root = if group.is_empty() { "api" } else { "apis" };
        let announced = groups["groups"].as_array().unwrap().iter().any(|found| found["name"] == group);
        assert!(announced || group.is_empty(), "{resource:?}");
        let list = get(&server, &format!("/{root}/{api}")).await;
        let found = list["resources"].as_array().unwrap().iter().find(|found| found["name"] == resource.plural());
        assert_eq!(found.map(|found| &found["kind"]), Some(&resource.kind().into()), "{resource:?}");
    }
    for path in ["/apis/apps/v2", "/apis/batch", "/openapi/v3/apis/apps", "/openapi/v2"] {
        assert_eq!(ask(&server, "GET", path, &[], "").await.unwrap().status, 404, "{path}");
    }
}

#[tokio::test]
async fn every_group_says_that_the_server_validates() {
    let server = Server::on_tokio_time(0);
    let documents = get(&server, "/openapi/v3").await;
    for (api, path) in documents["paths"].as_object().unwrap() {
        let document = get(&server, path["serverRelativeURL"].as_str().unwrap()).await;
        let paths = document["paths"].as_object().unwrap();
        assert!(!paths.is_empty(), "{api}");
        assert!(paths.values().all(|path| path["patch"]["parameters"][0]["name"] == "fieldValidation"), "{api}");
    }
}

#[tokio::test]
async fn only_a_handle_that_trusts_needs_no_token() {
    let server = Server::on_tokio_time(0);
    server.require_token(Some("secret"));
    assert_eq!(ask(&server, "GET", "/apis", &[], "").await.unwrap().status, 401);
    assert_eq!(ask(&server.trusting(), "GET", "/apis", &[], "").await.unwrap().status, 200);
    assert_eq!(ask(&server.clone(), "GET", "/apis", &[], "").await.unwrap().status, 401);
}
