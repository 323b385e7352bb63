//! Label selectors and the two field selectors every resource has.

use serde_json::Value;

use super::failure::Failure;

/// A parsed pair of selectors.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    labels: Vec<Term>,
    fields: Vec<(Field, bool, String)>,
}

#[derive(Clone, Copy, Debug)]
enum Field {
    Name,
    Namespace,
    PodNode,
}

#[derive(Clone, Debug)]
enum Term {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

impl Selection {
    pub(crate) fn parse(labels: Option<&str>, fields: Option<&str>) -> Result<Self, Failure> {
        let labels = split(labels.unwrap_or_default()).into_iter().map(term).collect();
        let fields = split(fields.unwrap_or_default()).into_iter().map(field).collect::<Result<_, _>>()?;
        Ok(Self { labels, fields })
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.labels.iter().all(|term| term.matches(labels))
            && self.fields.iter().all(|(field, equal, wanted)| {
                let actual = match field {
                    Field::Name => &object["metadata"]["name"],
                    Field::Namespace => &object["metadata"]["namespace"],
                    Field::PodNode => &object["spec"]["nodeName"],
                };
                (actual.as_str().unwrap_or_default() == wanted) == *equal
            })
    }
}

impl Term {
    fn matches(&self, labels: &Value) -> bool {
        let value = |key: &str| labels.get(key).and_then(Value::as_str);
        match self {
            Self::In(key, wanted) => value(key).is_some_and(|v| wanted.iter().any(|w| w == v)),
            Self::NotIn(key, refused) => value(key).is_none_or(|v| refused.iter().all(|r| r != v)),
            Self::Exists(key) => value(key).is_some(),
            Self::Absent(key) => value(key).is_none(),
        }
    }
}

/// Splits at commas outside parentheses.
fn split(selector: &str) -> Vec<String> {
    let mut terms = vec![String::new()];
    let mut depth = 0_i32;
    for character in selector.chars() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                terms.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = terms.last_mut() {
            last.push(character);
        }
    }
    terms.iter().map(|term| term.trim().to_owned()).filter(|term| !term.is_empty()).collect()
}

fn term(text: String) -> Term {
    let list = |values: &str| values.trim_end_matches(')').split(',').map(|v| v.trim().to_owned()).collect();
    if let Some((key, values)) = text.split_once(" notin (") {
        return Term::NotIn(key.trim().to_owned(), list(values));
    }
    if let Some((key, values)) = text.split_once(" in (") {
        return Term::In(key.trim().to_owned(), list(values));
    }
    if let Some((key, value)) = text.split_once("!=") {
        return Term::NotIn(key.to_owned(), vec![value.to_owned()]);
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Term::In(key.to_owned(), vec![value.to_owned()]);
    }
    match text.strip_prefix('!') {
        Some(key) => Term::Absent(key.to_owned()),
        None => Term::Exists(text),
    }
}

fn field(text: String) -> Result<(Field, bool, String), Failure> {
    let parts = text.split_once("!=").map(|(k, v)| (k, false, v));
    let parts = parts.or_else(|| text.split_once("==").map(|(k, v)| (k, true, v)));
    let parts = parts.or_else(|| text.split_once('=').map(|(k, v)| (k, true, v)));
    let (key, equal, value) =
        parts.ok_or_else(|| Failure::bad_request(format!("invalid selector: '{text}'")))?;
    let field = match key {
        "metadata.name" => Field::Name,
        "metadata.namespace" => Field::Namespace,
        "spec.nodeName" => Field::PodNode,
        other => return Err(Failure::bad_request(format!("field label not supported: {other}"))),
    };
    Ok((field, equal, value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn label_terms() {
        let object = json!({"metadata": {"name": "x", "labels": {"a": "1", "b": "2"}}});
        for (selector, expected) in [
            ("", true),
            ("a=1", true),
            ("a==1,b=2", true),
            ("a=2", false),
            ("a!=2", true),
            ("c!=2", true),
            ("a", true),
            ("c", false),
            ("!c", true),
            ("!a", false),
            ("a in (0,1),b", true),
            ("a notin (0, 1)", false),
        ] {
            let selection = Selection::parse(Some(selector), None).unwrap();
            assert_eq!(selection.matches(&object), expected, "{selector}");
        }
    }

    #[test]
    fn field_terms() {
        let object = json!({"metadata": {"name": "x", "namespace": "n"}});
        let matches = |selector| Selection::parse(None, Some(selector)).unwrap().matches(&object);
        assert!(matches("metadata.name=x,metadata.namespace=n"));
        assert!(!matches("metadata.name!=x"));
        assert!(Selection::parse(None, Some("status.phase=x")).is_err());
    }
}
