//! The text format of Prometheus, for figures that are computed when asked for.

use std::fmt::Write;

/// Collects samples; families in the order they are begun.
#[derive(Default)]
pub struct Exposition(String);

impl Exposition {
    /// Begins a family of `kind` (`counter`, `gauge`).
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One sample; `at` is milliseconds since the epoch.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64, at: Option<i64>) {
        self.0.push_str(name);
        for (position, (label, value)) in labels.iter().enumerate() {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{}{label}=\"{value}\"", if position == 0 { '{' } else { ',' });
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = write!(self.0, " {value}");
        if let Some(at) = at {
            let _ = write!(self.0, " {at}");
        }
        self.0.push('\n');
    }

    /// The text.
    #[must_use]
    pub fn finish(self) -> String {
        self.0
    }
}

/// Content type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_escaped_and_stamped() {
        let mut out = Exposition::default();
        out.family("a_total", "counter", "Things.");
        out.sample("a_total", &[("pod", "x\"y"), ("ns", "n")], 1.5, Some(1000));
        out.sample("b", &[], 2.0, None);
        assert_eq!(
            out.finish(),
            "# HELP a_total Things.\n# TYPE a_total counter\na_total{pod=\"x\\\"y\",ns=\"n\"} 1.5 1000\nb 2\n"
        );
    }
}
