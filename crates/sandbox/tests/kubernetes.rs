//! A real Kubernetes API server starts, and checks what it is given.

use heliograph_sandbox::kubernetes::ApiServer;
use serde_json::json;

#[test]
fn an_api_server_stores_objects_and_refuses_what_it_does_not_know() {
    let server = ApiServer::start().unwrap();
    let path = "/api/v1/namespaces/default/configmaps/one";
    let mut map = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "one"},
        "data": {"key": "value"},
    });
    server.apply(path, &map).unwrap();
    assert_eq!(server.get(path).unwrap()["data"]["key"], "value");
    map["spec"] = json!({"unknown": true});
    let refusal = server.apply(path, &map).unwrap_err().to_string();
    assert!(refusal.contains("spec"), "{refusal}");
}
