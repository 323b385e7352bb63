//! From an HTTP request to a call on the world, and back.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use http::{Method, header};
use serde_json::{Value, json};

use super::{
    delete::Outcome,
    failure::Failure,
    kinds::Kind,
    patch,
    select::Selection,
    ssa::Writer,
    world::{Stored, World},
    write::{Goal, remove},
};

/// A parsed request.
pub(crate) struct Call {
    pub(crate) kind: Arc<Kind>,
    /// Empty for cluster-scoped kinds and for lists over all namespaces.
    pub(crate) namespace: String,
    /// Empty for collections.
    pub(crate) name: String,
    subresource: String,
    method: Method,
    query: HashMap<String, String>,
    content_type: String,
    agent: String,
    pub(crate) metadata_only: bool,
    body: Bytes,
}

/// What is sent back.
pub(crate) enum Answer {
    Json(u16, Value),
    /// A watch: the selection, and the version to begin after.
    Watch(Watch),
}

/// A watch that was asked for.
pub(crate) struct Watch {
    pub(crate) kind: Arc<Kind>,
    pub(crate) namespace: String,
    pub(crate) selection: Selection,
    /// Events sent before the log is followed.
    pub(crate) initial: Vec<Value>,
    pub(crate) after: u64,
    pub(crate) seconds: u64,
    pub(crate) bookmarks: bool,
    pub(crate) metadata_only: bool,
}

impl Call {
    pub(crate) fn parse<B>(world: &World, request: &http::Request<B>, body: Bytes) -> Result<Self, Failure> {
        let parts: Vec<String> =
            request.uri().path().split('/').filter(|part| !part.is_empty()).map(decode).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return Err(Failure::no_route()),
        };
        let find = |plural: &str| world.kind_at(group, version, plural);
        let (kind, namespace, rest) = match rest {
            ["namespaces", namespace, plural, rest @ ..]
                if find(plural).is_some_and(|kind| kind.namespaced) =>
            {
                (find(plural), *namespace, rest)
            }
            [plural, rest @ ..] => (find(plural), "", rest),
            [] => (None, "", rest),
        };
        let kind = kind.ok_or_else(Failure::no_route)?;
        let text = |name: header::HeaderName| {
            request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        Ok(Self {
            kind,
            namespace: namespace.to_owned(),
            name: rest.first().copied().unwrap_or_default().to_owned(),
            subresource: rest.get(1).copied().unwrap_or_default().to_owned(),
            method: request.method().clone(),
            query: query(request.uri().query().unwrap_or_default()),
            content_type: text(header::CONTENT_TYPE),
            agent: text(header::USER_AGENT).split('/').next().unwrap_or_default().to_owned(),
            metadata_only: text(header::ACCEPT).contains("as=PartialObjectMetadata"),
            body,
        })
    }

    fn param(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    fn selection(&self) -> Result<Selection, Failure> {
        Selection::parse(self.param("labelSelector"), self.param("fieldSelector"))
    }

    fn writer(&self) -> Writer {
        let default = if self.agent.is_empty() { "unknown" } else { &self.agent };
        Writer {
            manager: self.param("fieldManager").unwrap_or(default).to_owned(),
            force: self.param("force") == Some("true"),
            status: self.subresource == "status",
            now: World::now(),
        }
    }

    fn json(&self) -> Result<Value, Failure> {
        if self.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&self.body)
            .map_err(|error| Failure::bad_request(format!("the body is not JSON: {error}")))
    }

    /// Performs the call.
    pub(crate) fn perform(&self, world: &mut World) -> Result<Answer, Failure> {
        if !matches!(self.subresource.as_str(), "" | "status")
            || (self.subresource == "status" && !self.kind.status)
        {
            return Err(Failure::no_subresource());
        }
        let version = world.version;
        let answer = match (&self.method, self.name.is_empty()) {
            (&Method::GET, true) if self.param("watch").is_some_and(|w| w == "true" || w == "1") => {
                self.watch(world)
            }
            (&Method::GET, true) => self.list(world),
            (&Method::GET, false) => {
                let goal = world.find(&self.kind, &self.goal(&self.writer()).slot())?;
                Ok(self.one(200, &goal))
            }
            (&Method::POST, true) => self.post(world),
            (&Method::PUT, false) => {
                let stored = world.replace(&self.goal(&self.writer()), self.json()?)?;
                Ok(self.one(200, &stored))
            }
            (&Method::PATCH, false) => self.patch(world),
            (&Method::DELETE, false) => self.delete(world),
            (&Method::DELETE, true) => {
                let gone = world.list(&self.kind.qualified(), &self.namespace, &self.selection()?);
                world.delete_all(&self.kind, &self.namespace, &self.selection()?, &self.json()?);
                Ok(Answer::Json(200, self.collection(world, gone.into_iter().map(|(_, stored)| stored))))
            }
            _ => Err(Failure::new(
                405,
                "MethodNotAllowed",
                "the server does not allow this method on the requested resource",
            )),
        };
        if world.version != version {
            world.settle_garbage();
            world.react(version);
        }
        answer
    }

    fn goal<'a>(&'a self, by: &'a Writer) -> Goal<'a> {
        Goal { kind: &self.kind, namespace: &self.namespace, name: &self.name, by }
    }

    fn post(&self, world: &mut World) -> Result<Answer, Failure> {
        if self.kind.namespaced && self.namespace.is_empty() {
            return Err(Failure::bad_request("an empty namespace may not be set during creation"));
        }
        let stored = world.create(&self.goal(&self.writer()), self.json()?)?;
        Ok(self.one(201, &stored))
    }

    fn patch(&self, world: &mut World) -> Result<Answer, Failure> {
        let writer = self.writer();
        let goal = self.goal(&writer);
        if self.content_type.starts_with("application/apply-patch") {
            if self.param("fieldManager").is_none() {
                return Err(Failure::nameless_apply());
            }
            let (stored, created) = world.apply(&goal, &self.json()?)?;
            return Ok(self.one(if created { 201 } else { 200 }, &stored));
        }
        let live = world.find(&self.kind, &goal.slot())?;
        let mut patched = patch::patch(&self.kind, &self.content_type, &live.value, &self.json()?)?;
        // Only a version the patch itself names is a precondition.
        if patched["metadata"]["resourceVersion"].is_null() {
            patched["metadata"]["resourceVersion"] = live.value["metadata"]["resourceVersion"].clone();
        }
        let stored = world.replace(&goal, patched)?;
        Ok(self.one(200, &stored))
    }

    fn delete(&self, world: &mut World) -> Result<Answer, Failure> {
        let writer = self.writer();
        let mut options = self.json()?;
        if let Some(policy) = self.param("propagationPolicy") {
            options["propagationPolicy"] = json!(policy);
        }
        match world.delete(&self.kind, &self.goal(&writer).slot(), &options)? {
            Outcome::Marked(stored) => Ok(self.one(200, &stored)),
            // Pods and custom resources answer with the object, most others with a status.
            Outcome::Removed(stored) if self.kind.plural == "pods" => Ok(self.one(200, &stored)),
            Outcome::Removed(stored) => {
                let mut status = json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                    "details": { "name": self.name, "kind": self.kind.plural, "uid": stored.value["metadata"]["uid"] },
                });
                if !self.kind.group.is_empty() {
                    status["details"]["group"] = json!(self.kind.group);
                }
                Ok(Answer::Json(200, status))
            }
        }
    }

    fn list(&self, world: &World) -> Result<Answer, Failure> {
        let found = world.list(&self.kind.qualified(), &self.namespace, &self.selection()?);
        Ok(Answer::Json(200, self.collection(world, found.into_iter().map(|(_, stored)| stored))))
    }

    fn collection(&self, world: &World, objects: impl Iterator<Item = Arc<Stored>>) -> Value {
        let mut items: Vec<Value> = objects.map(|stored| shown(&stored.value, self.metadata_only)).collect();
        if self.kind.schema.is_none() && !self.metadata_only {
            // Built-in kinds say their type once, for the list.
            for item in &mut items {
                remove(item, "apiVersion");
                remove(item, "kind");
            }
        }
        let (api_version, kind) = if self.metadata_only {
            ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadataList".to_owned())
        } else {
            (self.kind.api_version(), format!("{}List", self.kind.kind))
        };
        json!({
            "apiVersion": api_version, "kind": kind,
            "metadata": { "resourceVersion": world.version.to_string() },
            "items": items,
        })
    }

    fn watch(&self, world: &World) -> Result<Answer, Failure> {
        let selection = self.selection()?;
        let from = self.param("resourceVersion").unwrap_or_default();
        let send_initial = self.param("sendInitialEvents") == Some("true");
        let bookmarks = self.param("allowWatchBookmarks") == Some("true");
        let mut initial = Vec::new();
        let mut after = world.version;
        if matches!(from, "" | "0") || send_initial {
            for (_, stored) in world.list(&self.kind.qualified(), &self.namespace, &selection) {
                initial.push(json!({"type": "ADDED", "object": shown(&stored.value, self.metadata_only)}));
            }
            if send_initial && bookmarks {
                initial.push(bookmark(&self.kind, world.version, true));
            }
        } else {
            after = from
                .parse()
                .map_err(|_| Failure::bad_request(format!("invalid resource version \"{from}\"")))?;
        }
        let seconds = self.param("timeoutSeconds").and_then(|text| text.parse().ok()).unwrap_or(1800);
        Ok(Answer::Watch(Watch {
            kind: Arc::clone(&self.kind),
            namespace: self.namespace.clone(),
            selection,
            initial,
            after,
            seconds,
            bookmarks,
            metadata_only: self.metadata_only,
        }))
    }

    fn one(&self, code: u16, stored: &Stored) -> Answer {
        Answer::Json(code, shown(&stored.value, self.metadata_only))
    }
}

/// An object as it is sent: whole, or its metadata.
pub(crate) fn shown(value: &Value, metadata_only: bool) -> Value {
    if metadata_only {
        json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": value["metadata"] })
    } else {
        value.clone()
    }
}

/// A bookmark event.
pub(crate) fn bookmark(kind: &Kind, version: u64, end_of_list: bool) -> Value {
    let mut object = json!({
        "apiVersion": kind.api_version(), "kind": kind.kind,
        "metadata": { "resourceVersion": version.to_string(), "creationTimestamp": null },
    });
    if end_of_list {
        object["metadata"]["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
    }
    json!({ "type": "BOOKMARK", "object": object })
}

fn query(text: &str) -> HashMap<String, String> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(&name.replace('+', " ")), decode(&value.replace('+', " ")))
    };
    text.split('&').filter(|part| !part.is_empty()).map(pair).collect()
}

/// Percent-decoding.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let hex = text.get(index + 1..index + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[index], hex) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                index += 3;
            }
            (byte, _) => {
                decoded.push(byte);
                index += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
