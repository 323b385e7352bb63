//! `$(VAR)` in commands, arguments and environment, with the rules of the kubelet.
//!
//! `$(NAME)` is replaced when `NAME` is known and left alone when not; `$$` is one `$`, so `$$(NAME)` is the text
//! `$(NAME)`; a `$` before anything else, and a reference that is never closed, are plain text. What was put in is not
//! looked at again.

/// Replaces the references in `text`.
pub fn expand<'v>(text: &str, lookup: impl Fn(&str) -> Option<&'v str>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        rest = from;
        if let Some(after) = rest.strip_prefix("$$") {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix("$(").and_then(|r| r.split_once(')')) {
            match lookup(name) {
                Some(value) => out.push_str(value),
                None => out.extend(["$(", name, ")"]),
            }
            rest = after;
        } else {
            out.push('$');
            rest = rest.strip_prefix('$').unwrap_or_default();
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::expand;

    fn run(text: &str) -> String {
        expand(text, |name| match name {
            "A" => Some("1"),
            "B" => Some("$(A)"),
            "" => Some("empty name"),
            "A B" => Some("spaced"),
            _ => None,
        })
    }

    #[test]
    fn follows_the_kubelet() {
        for (input, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("$(A)", "1"),
            ("x$(A)y$(A)", "x1y1"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$$$$(A)", "$$(A)"),
            ("$(NONE)", "$(NONE)"),
            ("$(B)", "$(A)"),
            ("$(A", "$(A"),
            ("$(A$(A)", "$(A$(A)"),
            ("$A", "$A"),
            ("$", "$"),
            ("a$", "a$"),
            ("$$", "$"),
            ("$()", "empty name"),
            ("$(A B)", "spaced"),
            ("$ (A)", "$ (A)"),
            ("ä$(A)ö", "ä1ö"),
            ("$ä$(A)", "$ä1"),
            ("--f=$(A),$(NONE),$$x", "--f=1,$(NONE),$x"),
        ] {
            assert_eq!(run(input), expected, "{input:?}");
        }
    }

    proptest! {
        #[test]
        fn text_without_dollar_is_untouched(text in "[^$]*") {
            prop_assert_eq!(run(&text), text);
        }

        #[test]
        fn escaping_every_dollar_gives_the_text_back(text in ".*") {
            prop_assert_eq!(run(&text.replace('$', "$$")), text);
        }

        #[test]
        fn unknown_names_are_left_alone(text in "([a-z]|\\$\\([a-z]{0,3}\\)){0,20}") {
            prop_assert_eq!(expand(&text, |_| None), text);
        }

        #[test]
        fn splitting_before_a_reference_changes_nothing(left in "[a-z]*", right in ".*") {
            let whole = format!("{left}$(A){right}");
            prop_assert_eq!(run(&whole), format!("{left}1{}", run(&right)));
        }
    }
}
