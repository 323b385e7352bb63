//! What a person carries to a machine of their own: one line of text that says which node the machine becomes and how.
//!
//! The text is base64 of JSON. It holds a bootstrap token, so it goes through standard input or a file that only root reads,
//! never through arguments, which every user of a machine can see.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

use crate::{Error, Result, config::Join};

/// Format this program writes and reads.
const FORMAT: u32 = 1;
/// Longest text taken: a join with full labels and a bundle of authorities is a tenth of it.
const LONGEST: usize = 256 * 1024;

/// The way of one machine into one cluster.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Invitation {
    format: u32,
    /// UID of the `Machine`.
    pub uid: String,
    /// `spec.providerID` of the node.
    pub provider_id: String,
    /// How to join. Its token is empty once the node has joined.
    pub join: Join,
}

impl Invitation {
    /// The invitation of the machine with this uid.
    pub fn new(uid: &str, join: Join) -> Self {
        Self { format: FORMAT, uid: uid.to_owned(), provider_id: format!("skep-static://{uid}"), join }
    }

    /// Whether the node has joined: nobody else can with this.
    pub fn is_used(&self) -> bool {
        self.join.token.is_empty()
    }

    /// As one line.
    ///
    /// # Errors
    /// [`Error::Invitation`] when it cannot be written as JSON, which none can that was read.
    pub fn to_text(&self) -> Result<String> {
        let json = serde_json::to_vec(self).map_err(|error| wrong(error.to_string()))?;
        Ok(BASE64_STANDARD.encode(json))
    }

    /// From what was kept, used or not.
    ///
    /// # Errors
    /// [`Error::Invitation`] says what is wrong; nothing of the text is repeated.
    pub fn read(text: &str) -> Result<Self> {
        if text.len() > LONGEST {
            return Err(wrong(format!("it has {} bytes, more than {LONGEST}", text.len())));
        }
        let text: String = text.split_whitespace().collect();
        if text.is_empty() {
            return Err(wrong("it is empty".to_owned()));
        }
        let json = BASE64_STANDARD.decode(text).map_err(|_| wrong("it is not complete".to_owned()))?;
        let invitation: Self = serde_json::from_slice(&json)
            .map_err(|_| wrong("it was made by another version of skep, or is none".to_owned()))?;
        if invitation.format != FORMAT {
            return Err(wrong(format!("its format is {}, this skep knows {FORMAT}", invitation.format)));
        }
        Ok(invitation)
    }

    /// From what a person brought. Line breaks that a terminal has put in do not matter.
    ///
    /// # Errors
    /// [`Error::Invitation`] says what is wrong; nothing of the text is repeated.
    pub fn parse(text: &str) -> Result<Self> {
        let invitation = Self::read(text)?;
        if invitation.is_used() {
            return Err(wrong("its node has joined already: each is for one machine".to_owned()));
        }
        let is_token = invitation.join.token.split_once('.').is_some_and(|(id, secret)| {
            let plain = |part: &str| part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
            id.len() == 6 && secret.len() == 16 && plain(id) && plain(secret)
        });
        if !is_token {
            return Err(wrong("its token has not the form of one".to_owned()));
        }
        Ok(invitation)
    }
}

fn wrong(why: String) -> Error {
    Error::Invitation { why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invitation(change: impl FnOnce(&mut Invitation)) -> Invitation {
        let mut invitation = Invitation::new("u1", crate::build::testing::full_join());
        invitation.join.token = "abcdef.0123456789abcdef".into();
        change(&mut invitation);
        invitation
    }

    fn refusal(text: &str) -> String {
        let error = Invitation::parse(text).unwrap_err().to_string();
        assert!(error.contains("SKEP-8113") && !error.contains("0123456789"), "{error}");
        error
    }

    #[test]
    fn a_line_survives_a_terminal() {
        let whole = invitation(|_| {});
        let text = whole.to_text().unwrap();
        let broken: Vec<_> =
            text.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
        assert_eq!(Invitation::parse(&format!(" {}\r\n", broken.join("\n"))).unwrap(), whole);
        assert_eq!(whole.provider_id, "skep-static://u1");
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_reason() {
        let text = invitation(|_| {}).to_text().unwrap();
        assert!(refusal("").contains("empty"));
        assert!(refusal(&text[..text.len() - 3]).contains("not complete"));
        assert!(refusal("bm90aGluZw==").contains("another version"));
        assert!(refusal(&"A".repeat(LONGEST + 1)).contains("bytes"));
        assert!(refusal(&invitation(|i| i.format = 9).to_text().unwrap()).contains("format is 9"));
        assert!(refusal(&invitation(|i| i.join.token.clear()).to_text().unwrap()).contains("joined already"));
        let token = invitation(|i| i.join.token = "x".into());
        assert!(refusal(&token.to_text().unwrap()).contains("form"));
    }

    #[test]
    fn it_does_not_show_its_token() {
        assert!(!format!("{:?}", invitation(|_| {})).contains("0123"));
    }
}
