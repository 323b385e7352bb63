//! What hollow nodes are told: how long things take, how often they fail, and the seed that decides each case.

use serde::{Deserialize, Serialize};

/// Longest time that anything may take.
const LONGEST_MS: u64 = 7 * 24 * 3600 * 1000;

/// How hollow nodes behave. What is not said has a default, which is an ordinary cluster without failures.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// Decides every single case: the same seed gives the same cluster the same fate.
    pub seed: u64,
    /// How long things take.
    pub timings: Timings,
    /// What goes wrong.
    pub failures: Failures,
}

/// How long things take.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Timings {
    /// From the machine to the registration of its node.
    pub boot: Spread,
    /// Pulling the image of a container, before its first start.
    pub pull: Spread,
    /// Creating and starting a container.
    pub start: Spread,
    /// From the start of a container to the first good probe, where it has one; its initial delay comes on top.
    pub probe: Spread,
    /// How long init containers run.
    pub init: Spread,
    /// How long containers run in pods that end (`restartPolicy` other than `Always`).
    pub run: Spread,
    /// From the request to stop to the end of a container; what takes longer than the grace period is killed.
    pub stop: Spread,
    /// Pause between renewals of a node's lease, which holds for 40 s: 1,000 to 30,000 ms. A kubelet's is 10 s; twice
    /// that still leaves room for a missed one.
    pub lease_every_ms: u64,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            boot: Spread::of(1_000, 5_000),
            pull: Spread::of(2_000, 8_000),
            start: Spread::of(300, 1_500),
            probe: Spread::of(500, 2_000),
            init: Spread::of(500, 3_000),
            run: Spread::of(10_000, 60_000),
            stop: Spread::of(200, 2_000),
            lease_every_ms: 20_000,
        }
    }
}

/// Times around a middle with a long tail, as images and programs have them: log-normal, given by two of its points.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spread {
    /// Half of all cases take at most this long, in milliseconds.
    pub median_ms: u64,
    /// 19 of 20 cases take at most this long. The same as the median: all take exactly that.
    pub p95_ms: u64,
}

impl Spread {
    /// With this median and 95th percentile, in milliseconds.
    #[must_use]
    pub const fn of(median_ms: u64, p95_ms: u64) -> Self {
        Self { median_ms, p95_ms }
    }

    /// Always exactly this long.
    #[must_use]
    pub const fn fixed(ms: u64) -> Self {
        Self::of(ms, ms)
    }
}

/// What goes wrong. Shares are in thousandths.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Failures {
    /// Starts of containers that fail (exit code 128); they are tried again as the restart policy says.
    pub start_per_mille: u16,
    /// Runs of containers that should run for ever and end with code 1 after the time of `timings.run`.
    pub crash_per_mille: u16,
    /// Exit codes of containers in pods that end; what no share is given for ends with 0.
    pub exit_codes: Vec<ExitCode>,
    /// Nodes that are not heard of for a while.
    pub dark: Dark,
}

/// A share of exit codes.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExitCode {
    /// The code, 0 to 255.
    pub code: u8,
    /// How many of 1,000 runs end with it.
    pub per_mille: u16,
}

/// Nodes that go dark: no lease, no status, nothing of their pods, until they come back.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Dark {
    /// Nodes that go dark in any hour.
    pub per_mille_an_hour: u16,
    /// How long they stay so.
    pub lasts: Spread,
}

impl Default for Dark {
    fn default() -> Self {
        Self { per_mille_an_hour: 0, lasts: Spread::of(180_000, 600_000) }
    }
}

/// A configuration that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} of the configuration of hollow nodes {why} (SKEP-8110)")]
pub struct ConfigError {
    /// Which field.
    pub field: &'static str,
    /// What is wrong with it, as the end of a sentence.
    pub why: String,
}

impl Config {
    /// Checks what the types do not say.
    ///
    /// # Errors
    /// The first field that cannot be followed.
    pub fn check(&self) -> Result<(), ConfigError> {
        let wrong = |field, why: &str| Err(ConfigError { field, why: why.to_owned() });
        let Timings { boot, pull, start, probe, init, run, stop, lease_every_ms } = &self.timings;
        let lasts = &self.failures.dark.lasts;
        for (field, spread) in [
            ("timings.boot", boot),
            ("timings.pull", pull),
            ("timings.start", start),
            ("timings.probe", probe),
            ("timings.init", init),
            ("timings.run", run),
            ("timings.stop", stop),
            ("failures.dark.lasts", lasts),
        ] {
            if spread.p95_ms < spread.median_ms {
                return wrong(field, "has a p95Ms below its medianMs");
            }
            if spread.p95_ms > LONGEST_MS {
                return wrong(field, "is longer than a week");
            }
            if spread.median_ms == 0 && spread.p95_ms > 0 {
                return wrong(field, "has a medianMs of 0 and a p95Ms above it: make the median at least 1");
            }
        }
        if !(1_000..=30_000).contains(lease_every_ms) {
            return wrong("timings.leaseEveryMs", "is not within 1000 and 30000");
        }
        let Failures { start_per_mille, crash_per_mille, exit_codes, dark } = &self.failures;
        for (field, share) in [
            ("failures.startPerMille", *start_per_mille),
            ("failures.crashPerMille", *crash_per_mille),
            ("failures.dark.perMilleAnHour", dark.per_mille_an_hour),
        ] {
            if share > 1000 {
                return wrong(field, "is above 1000");
            }
        }
        if exit_codes.len() > 256 || exit_codes.iter().map(|one| u32::from(one.per_mille)).sum::<u32>() > 1000
        {
            return wrong("failures.exitCodes", "adds up to more than 1000");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(json: serde_json::Value) -> String {
        serde_json::from_value::<Config>(json).unwrap().check().unwrap_err().to_string()
    }

    #[test]
    fn nothing_said_is_an_ordinary_cluster() {
        let config: Config = serde_json::from_str("{}").unwrap();
        assert_eq!(config, Config::default());
        config.check().unwrap();
    }

    #[test]
    fn what_cannot_be_followed_is_named() {
        use serde_json::json;
        let spread = json!({"timings": {"pull": {"medianMs": 10, "p95Ms": 1}}});
        assert!(refused(spread).starts_with("timings.pull "));
        let share = json!({"failures": {"startPerMille": 1001}});
        assert!(refused(share).contains("failures.startPerMille of"));
        let codes =
            json!({"failures": {"exitCodes": [{"code": 1, "perMille": 600}, {"code": 2, "perMille": 600}]}});
        assert!(refused(codes).contains("SKEP-8110"));
        assert!(refused(json!({"timings": {"leaseEveryMs": 60_000}})).contains("leaseEveryMs"));
        assert!(serde_json::from_value::<Config>(json!({"sed": 1})).is_err());
    }
}
