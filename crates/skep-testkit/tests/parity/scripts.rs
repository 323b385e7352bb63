//! The scripts: what is asked of both servers.

use http::Method;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

use crate::Call;

fn call(method: Method, path: impl Into<String>, content_type: &'static str, body: Value) -> Call {
    Call { method, path: path.into(), content_type, body, metadata_only: false }
}

pub fn get(path: impl Into<String>) -> Call {
    call(Method::GET, path, "", Value::Null)
}

fn get_metadata(path: impl Into<String>) -> Call {
    Call { metadata_only: true, ..get(path) }
}

pub fn post(path: impl Into<String>, body: Value) -> Call {
    call(Method::POST, path, "application/json", body)
}

fn put(path: impl Into<String>, body: Value) -> Call {
    call(Method::PUT, path, "application/json", body)
}

fn delete(path: impl Into<String>, body: Value) -> Call {
    call(Method::DELETE, path, "application/json", body)
}

fn merge(path: impl Into<String>, body: Value) -> Call {
    call(Method::PATCH, path, "application/merge-patch+json", body)
}

fn jsonpatch(path: impl Into<String>, body: Value) -> Call {
    call(Method::PATCH, path, "application/json-patch+json", body)
}

fn strategic(path: impl Into<String>, body: Value) -> Call {
    call(Method::PATCH, path, "application/strategic-merge-patch+json", body)
}

/// Forced apply by a manager.
fn apply(path: &str, manager: &str, body: Value) -> Call {
    call(
        Method::PATCH,
        format!("{path}?fieldManager={manager}&force=true"),
        "application/apply-patch+yaml",
        body,
    )
}

fn apply_politely(path: &str, manager: &str, body: Value) -> Call {
    call(Method::PATCH, format!("{path}?fieldManager={manager}"), "application/apply-patch+yaml", body)
}

fn config(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

fn widget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "parity.skep.dev/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

fn widget_status(name: &str, status: Value) -> Value {
    json!({"apiVersion": "parity.skep.dev/v1", "kind": "Widget", "metadata": {"name": name}, "status": status})
}

/// A kind with one of everything: list types, defaults, a status.
pub fn widget_crd() -> CustomResourceDefinition {
    let text = json!({"type": "string"});
    let condition = json!({
        "type": "object", "required": ["type"],
        "properties": {"type": text, "status": text, "message": text, "lastTransitionTime": {"type": "string", "format": "date-time"}},
    });
    let conditions = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"], "items": condition});
    let parts = json!({
        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
        "items": {"type": "object", "required": ["id"], "properties": {
            "id": text, "size": {"type": "integer"}, "colour": {"type": "string", "default": "grey"}, "tags": {"type": "array", "items": text},
        }},
    });
    let spec = json!({
        "type": "object",
        "properties": {
            "title": text,
            "mode": {"type": "string", "default": "plain"},
            "limits": {"type": "object", "additionalProperties": text},
            "nested": {"type": "object", "properties": {"a": text, "b": {"type": "integer", "default": 7}}},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": text},
            "list": {"type": "array", "items": text},
            "parts": parts,
        },
    });
    let status = json!({"type": "object", "properties": {
        "phase": text, "observedGeneration": {"type": "integer"}, "conditions": conditions,
    }});
    serde_json::from_value(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.parity.skep.dev"},
        "spec": {
            "group": "parity.skep.dev", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}},
            }],
        },
    }))
    .unwrap()
}

fn configs(ns: &str) -> String {
    format!("/api/v1/namespaces/{ns}/configmaps")
}

fn widgets(ns: &str) -> String {
    format!("/apis/parity.skep.dev/v1/namespaces/{ns}/widgets")
}

pub fn reads_and_writes(ns: &str) -> Vec<Call> {
    let all = configs(ns);
    let one = format!("{all}/a");
    vec![
        get(&one),
        post(&all, config("a", json!({"k": "v"}))),
        post(&all, config("a", json!({"k": "v"}))),
        get(&one),
        put(&one, config("a", json!({"k": "w", "l": "x"}))),
        put(&one, config("a", json!({"k": "w", "l": "x"}))),
        put(format!("{all}/b"), config("b", json!({}))),
        delete(&one, Value::Null),
        delete(&one, Value::Null),
        get(format!("/apis/parity.skep.dev/v1/namespaces/{ns}/widgets/none")),
        post("/api/v1/namespaces/no-such-namespace/configmaps", config("a", json!({}))),
        apply("/api/v1/namespaces/no-such-namespace/configmaps/a", "m", config("a", json!({}))),
        get(format!("/apis/parity.skep.dev/v1/namespaces/{ns}/gadgets/none")),
    ]
}

pub fn conflicts(ns: &str) -> Vec<Call> {
    let all = configs(ns);
    let one = format!("{all}/a");
    let versioned = |version: &str, data: Value| {
        let mut object = config("a", data);
        object["metadata"]["resourceVersion"] = json!(version);
        object
    };
    let with_uid = |uid: &str| {
        let mut object = config("a", json!({"u": "u"}));
        object["metadata"]["uid"] = json!(uid);
        object
    };
    let wrong = "11111111-2222-3333-4444-555555555555";
    vec![
        post(&all, config("a", json!({"n": "1"}))),
        put(&one, versioned("${rv:a}", json!({"n": "2"}))),
        put(&one, versioned("1", json!({"n": "3"}))),
        merge(&one, json!({"metadata": {"resourceVersion": "1"}, "data": {"n": "4"}})),
        merge(&one, json!({"metadata": {"resourceVersion": "${rv:a}"}, "data": {"n": "5"}})),
        apply(&one, "m", with_uid(wrong)),
        apply(&one, "m", with_uid("${uid:a}")),
        apply(&format!("{all}/absent"), "m", {
            let mut object = with_uid(wrong);
            object["metadata"]["name"] = json!("absent");
            object
        }),
        delete(&one, json!({"preconditions": {"uid": wrong}})),
        delete(&one, json!({"preconditions": {"resourceVersion": "1"}})),
        delete(&one, json!({"preconditions": {"uid": "${uid:a}"}})),
        post(widgets(ns), widget("w", json!({}))),
        put(format!("{}/w", widgets(ns)), widget("w", json!({"title": "x"}))),
    ]
}

pub fn apply_maps(ns: &str) -> Vec<Call> {
    let one = format!("{}/a", configs(ns));
    let labelled = |labels: Value, data: Value| {
        let mut object = config("a", data);
        object["metadata"]["labels"] = labels;
        object
    };
    vec![
        apply(&one, "m", labelled(json!({"x": "1", "y": "2"}), json!({"k": "v", "l": "w"}))),
        apply(&one, "m", labelled(json!({"x": "1", "y": "2"}), json!({"k": "v", "l": "w"}))),
        apply(&one, "m", labelled(json!({"x": "1"}), json!({"k": "changed"}))),
        apply(&one, "m", config("a", json!({"n": "new"}))),
        apply(&one, "m", json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})),
        get(&one),
    ]
}

pub fn apply_lists(ns: &str) -> Vec<Call> {
    let one = format!("{}/a", widgets(ns));
    vec![
        apply(
            &one,
            "m",
            widget(
                "a",
                json!({
                    "title": "t", "set": ["x", "y"], "list": ["p", "q"],
                    "parts": [{"id": "1", "size": 1}, {"id": "2", "size": 2, "tags": ["t"]}],
                    "nested": {"a": "v"},
                }),
            ),
        ),
        apply(
            &one,
            "other",
            widget("a", json!({"set": ["z"], "parts": [{"id": "3"}, {"id": "1", "colour": "red"}]})),
        ),
        apply(&one, "m", widget("a", json!({"set": ["y"], "list": ["q"], "parts": [{"id": "1"}]}))),
        apply(&one, "m", widget("a", json!({"title": "t"}))),
        apply(&one, "other", widget("a", json!({}))),
        get(&one),
    ]
}

pub fn apply_managers(ns: &str) -> Vec<Call> {
    let all = configs(ns);
    let one = format!("{all}/a");
    vec![
        apply(&one, "first", config("a", json!({"shared": "1", "own": "1"}))),
        apply_politely(&one, "second", config("a", json!({"shared": "2"}))),
        apply_politely(&one, "second", config("a", json!({"shared": "1", "more": "2"}))),
        apply(&one, "second", config("a", json!({"shared": "2"}))),
        apply(&one, "first", config("a", json!({"own": "1"}))),
        apply(&one, "second", config("a", json!({"more": "3"}))),
        merge(&one, json!({"data": {"own": "by hand", "hand": "1"}})),
        apply(&one, "first", config("a", json!({"own": "again"}))),
        merge(&one, json!({"data": {"hand": null}})),
        apply(&one, "first", config("a", json!({}))),
        post(&all, config("posted", json!({"k": "v"}))),
        apply(&format!("{all}/posted"), "first", config("posted", json!({"k": "v"}))),
        apply(&format!("{all}/posted"), "first", config("posted", json!({"l": "v"}))),
        call(Method::PATCH, &one, "application/apply-patch+yaml", config("a", json!({}))),
        apply(&one, "third", config("a", json!({"x": "1", "y": "1"}))),
        apply_politely(&one, "fourth", config("a", json!({"x": "2", "y": "2"}))),
    ]
}

pub fn status(ns: &str) -> Vec<Call> {
    let all = widgets(ns);
    let one = format!("{all}/a");
    let sub = format!("{one}/status");
    let condition = |status: &str| json!({"type": "Ready", "status": status, "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let mut created = widget("a", json!({"title": "t"}));
    created["status"] = json!({"phase": "Sneaked"});
    let mut both = widget("a", json!({"title": "u"}));
    both["status"] = json!({"phase": "Sneaked"});
    both["metadata"]["resourceVersion"] = json!("${rv:a}");
    vec![
        post(&all, created),
        apply(&sub, "ctl", widget_status("a", json!({"phase": "Up", "conditions": [condition("True")]}))),
        apply(&sub, "ctl", widget_status("a", json!({"phase": "Up", "conditions": [condition("True")]}))),
        apply(&sub, "ctl", widget_status("a", json!({"conditions": [condition("False")]}))),
        put(&one, both),
        merge(&one, json!({"status": {"phase": "Sneaked"}})),
        merge(&sub, json!({"status": {"phase": "Patched"}, "spec": {"title": "sneaked"}})),
        merge(&one, json!({"spec": {"title": "v"}})),
        merge(&one, json!({"metadata": {"labels": {"l": "1"}}})),
        apply(&format!("{all}/absent/status"), "ctl", widget_status("absent", json!({"phase": "Up"}))),
        apply(&sub, "ctl", {
            let mut object = widget_status("a", json!({"phase": "Up"}));
            object["metadata"]["uid"] = json!("11111111-2222-3333-4444-555555555555");
            object
        }),
        get(&sub),
        get(format!("{}/absent/status", configs(ns))),
    ]
}

pub fn patches(ns: &str) -> Vec<Call> {
    let all = configs(ns);
    let one = format!("{all}/a");
    vec![
        merge(&one, json!({"data": {"k": "v"}})),
        post(&all, config("a", json!({"k": "v", "l": "w"}))),
        merge(&one, json!({"data": {"k": null, "m": "x"}, "metadata": {"annotations": {"a": "1"}}})),
        merge(&one, json!({"metadata": {"annotations": null}})),
        jsonpatch(&one, json!([{"op": "replace", "path": "/data/m", "value": "y"}])),
        jsonpatch(
            &one,
            json!([{"op": "test", "path": "/metadata/resourceVersion", "value": "${rv:a}"}, {"op": "add", "path": "/data/z", "value": "1"}]),
        ),
        strategic(&one, json!({"data": {"l": null, "s": "1"}})),
        strategic(&one, json!({"metadata": {"finalizers": ["skep.dev/a"]}})),
        strategic(&one, json!({"metadata": {"finalizers": ["skep.dev/b"]}})),
        get(&one),
    ]
}

pub fn finalizers(ns: &str) -> Vec<Call> {
    let all = widgets(ns);
    let one = format!("{all}/a");
    let mut held = widget("a", json!({}));
    held["metadata"]["finalizers"] = json!(["skep.dev/x", "skep.dev/y"]);
    vec![
        post(&all, held),
        delete(&one, json!({"propagationPolicy": "Background"})),
        delete(&one, Value::Null),
        merge(&one, json!({"spec": {"title": "still writable"}})),
        merge(&one, json!({"metadata": {"finalizers": ["skep.dev/y", "skep.dev/z"]}})),
        merge(&one, json!({"metadata": {"finalizers": ["skep.dev/y"]}})),
        merge(&one, json!({"metadata": {"finalizers": []}})),
        get(&one),
        merge(&one, json!({"metadata": {"finalizers": []}})),
        // The same name again is another object.
        post(&all, widget("a", json!({}))),
        delete(&one, Value::Null),
        apply(&one, "m", {
            let mut object = widget("a", json!({}));
            object["metadata"]["finalizers"] = json!(["skep.dev/x"]);
            object
        }),
        delete(&one, Value::Null),
        apply(&one, "m", widget("a", json!({}))),
        get(&one),
    ]
}

pub fn selectors(ns: &str) -> Vec<Call> {
    let all = configs(ns);
    let labelled = |name: &str, labels: Value| {
        let mut object = config(name, json!({}));
        object["metadata"]["labels"] = labels;
        object
    };
    let by_label = |selector: &str| get(format!("{all}?labelSelector={selector}"));
    vec![
        post(&all, labelled("a", json!({"app": "one", "tier": "x"}))),
        post(&all, labelled("b", json!({"app": "two"}))),
        post(&all, labelled("c", json!({"tier": "x"}))),
        by_label("app%3Done"),
        by_label("app"),
        by_label("%21app"),
        by_label("app%20in%20(one,two),tier%21%3Dx"),
        by_label("app%20notin%20(one)"),
        get(format!("{all}?fieldSelector=metadata.name%3Db")),
        get_metadata(format!("{all}?labelSelector=app%3Done")),
        get_metadata(format!("{all}/b")),
        delete(format!("{all}?labelSelector=tier%3Dx"), Value::Null),
        by_label("app"),
    ]
}

pub fn watches(ns: &str) -> Vec<Call> {
    let all = configs(ns);
    let labelled = |name: &str, value: &str| {
        let mut object = config(name, json!({}));
        object["metadata"]["labels"] = json!({"w": value});
        object
    };
    let mut watch_meta =
        get(format!("{all}?watch=true&resourceVersion=${{rv:list}}&timeoutSeconds=3&labelSelector=w%3D1"));
    watch_meta.metadata_only = true;
    vec![
        post(&all, labelled("before", "1")),
        get(format!("{all}?labelSelector=w")),
        post(&all, labelled("a", "1")),
        merge(format!("{all}/a"), json!({"data": {"k": "v"}})),
        // Leaves the selection, comes back, goes.
        merge(format!("{all}/a"), json!({"metadata": {"labels": {"w": "2"}}})),
        merge(format!("{all}/a"), json!({"data": {"k": "unseen"}})),
        merge(format!("{all}/a"), json!({"metadata": {"labels": {"w": "1"}}})),
        delete(format!("{all}/a"), Value::Null),
        get(format!("{all}?watch=true&resourceVersion=${{rv:list}}&timeoutSeconds=3&labelSelector=w%3D1")),
        get(format!(
            "{all}?watch=true&resourceVersion=${{rv:list}}&timeoutSeconds=3&fieldSelector=metadata.name%3Dnone"
        )),
        watch_meta,
    ]
}

pub fn secrets(ns: &str) -> Vec<Call> {
    let all = format!("/api/v1/namespaces/{ns}/secrets");
    let one = format!("{all}/a");
    let secret =
        |data: Value| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "data": data});
    vec![
        post(&all, json!({"metadata": {"name": "a"}, "stringData": {"k": "v"}})),
        merge(&one, json!({"stringData": {"l": "w"}})),
        apply(&one, "m", secret(json!({"m": "eA=="}))),
        apply(&one, "m", secret(json!({}))),
        delete(&one, Value::Null),
        apply(&one, "m", secret(json!({"m": "eA==", "n": ""}))),
    ]
}

pub fn schemas(ns: &str) -> Vec<Call> {
    let all = widgets(ns);
    let one = format!("{all}/a");
    vec![
        post(
            &all,
            widget(
                "a",
                json!({
                    "unknown": 1, "free": {"anything": {"goes": true}}, "nested": {"a": "v", "c": 1},
                    "limits": {"cpu": "1"}, "parts": [{"id": "1", "junk": true}],
                }),
            ),
        ),
        merge(&one, json!({"spec": {"nested": {"b": null}, "mode": null, "junk": "j"}, "extra": 1})),
        apply(&one, "m", widget("a", json!({"nested": {"a": "w"}}))),
        get(&one),
    ]
}
