//! From a prepared container to a process that runs, and from a record to a process that still runs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;

use jiff::Timestamp;

use super::prepare::Prepared;
use super::{Attempt, Finished, Ledger, Refusal};
use crate::backend::ImageRoot;
use crate::process::beside::Beside;
use crate::process::cgroup::Cgroup;
use crate::process::handle::Process;
use crate::process::pod::cell::Running;
use crate::process::pod::mounts::path_map;
use crate::process::pod::record::{AttemptRecord, Ended, FORMAT};
use crate::process::procfs;
use crate::process::program::{self, CommandLine};
use crate::process::spawn::{Spawn, Stream};
use crate::process::volumes::Volumes;
use crate::process::{beside, log, stop};

/// Exit code of a container whose program could not be started (container runtimes).
const START_ERROR: i32 = 128;

impl Attempt {
    /// Writes the record and starts the process. Not to be given up half way.
    pub(super) async fn start(&self, prepared: Prepared) -> Result<(Ledger, Running), Finished> {
        if self.sweep_first {
            let killed = stop::sweep(&self.family(), None).await;
            if killed > 0 {
                tracing::warn!(
                    pod = self.identity.short_name(),
                    container = self.name(),
                    killed,
                    "an earlier run had left processes"
                );
            }
        }
        let created = |why: String| {
            self.reporter.warning("Failed", format!("Error: {why}"));
            Finished::NotCreated(Refusal::config("CreateContainerError", why))
        };
        let resources = self.container().ok().and_then(|c| c.resources.clone());
        let cgroup = match &self.site.cgroups {
            None => None,
            Some(root) => match root.container(self.identity.uid.as_str(), self.name(), resources.as_ref()) {
                Ok(cgroup) => Some(cgroup),
                Err(error) => return Err(created(format!("making the cgroup: {error}"))),
            },
        };
        let record = self.record(&prepared, resources);
        let (save, layout) = (record.clone(), self.identity.layout.clone());
        let message = prepared.message.clone();
        let written = self.identity.work.run(move || {
            save.save(&layout)?;
            // Of the runs before only the last is asked for.
            if let Some(old) = save.attempt.checked_sub(2) {
                layout.forget(&save.container, old);
            }
            std::fs::write(message, "")
        });
        if let Err(error) = written.await {
            return Err(created(format!("writing the record: {error}")));
        }
        self.reporter.normal("Created", "Container created");
        let ledger = Ledger::new(record, self.identity.clone());
        let paths = self.identity.layout.logs(self.name(), self.cell.attempt);
        let capture = match self.site.pump.open(paths, self.site.config.logs).await {
            Ok(capture) => capture,
            Err(error) => return Err(created(format!("opening the log: {error}"))),
        };
        let line = {
            let path = prepared.environment.get("PATH").cloned().unwrap_or_default();
            program::resolve(&prepared.words, &prepared.image, &path, &prepared.directory)
        };
        let beside = Arc::new(self.beside(&prepared, cgroup));
        let started = match line {
            Ok(line) => self.spawn(line, &beside, &capture).await,
            Err(why) => Err(why),
        };
        let process = match started {
            Ok(process) => process,
            Err(why) => return Err(Finished::Ended(self.never_ran(&ledger, &capture, &beside, why).await)),
        };
        let since = Timestamp::now();
        let id = process.id().clone();
        ledger
            .change(|record| {
                record.process = Some(id);
                record.started_at = Some(since);
            })
            .await;
        self.reporter.normal("Started", "Container started");
        Ok((ledger, Running { since, started: false, ready: false, process, beside, capture }))
    }

    async fn spawn(
        &self,
        line: CommandLine,
        beside: &Beside,
        capture: &log::Capture,
    ) -> Result<Process, String> {
        let cgroup = beside.cgroup.as_ref().map(Cgroup::entry).transpose();
        let spawn = Spawn::new(line.program, &self.marker())
            .name(line.name)
            .args(line.args)
            .env(beside.environment.iter().cloned())
            .directory(&beside.directory)
            .stdout(Stream::Append(capture.paths().stdout()))
            .stderr(Stream::Append(capture.paths().stderr()))
            .cgroup(cgroup.map_err(|e| format!("entering the cgroup: {e}"))?);
        beside::start(spawn).await
    }

    /// A container whose program does not start has run for no time and ended with an error.
    async fn never_ran(
        &self,
        ledger: &Ledger,
        capture: &log::Capture,
        beside: &Beside,
        why: String,
    ) -> Ended {
        let message = format!("failed to start container {:?}: {why}", self.name());
        self.reporter.warning("Failed", format!("Error: {message}"));
        if let Err(error) = capture.finish().await {
            tracing::debug!(%error, "closing the log of a container that never ran");
        }
        if let Some(cgroup) = &beside.cgroup {
            cgroup.destroy();
        }
        let now = Timestamp::now();
        let ended = ledger
            .read(|record| Ended {
                attempt: record.attempt,
                exit_code: START_ERROR,
                reason: "StartError".into(),
                message: Some(message),
                // What the kubelet shows for a container that has never started.
                started_at: Some(Timestamp::UNIX_EPOCH),
                finished_at: now,
                image_id: record.image_id.clone(),
                sandbox: record.sandbox.clone(),
            })
            .await;
        let end = ended.clone();
        ledger.change(|record| record.end = Some(end)).await;
        ended
    }

    fn record(
        &self,
        prepared: &Prepared,
        resources: Option<k8s_openapi::api::core::v1::ResourceRequirements>,
    ) -> AttemptRecord {
        AttemptRecord {
            format: FORMAT,
            container: self.name().to_owned(),
            attempt: self.cell.attempt,
            sandbox: self.sandbox.clone(),
            image: self.container().ok().and_then(|c| c.image.clone()).unwrap_or_default(),
            image_id: prepared.image.id.clone(),
            bin_dirs: prepared.image.bin_dirs.clone(),
            host_programs: prepared.image.host_programs,
            directory: prepared.directory.clone(),
            created_at: Timestamp::now(),
            process: None,
            started_at: None,
            started: false,
            ready: false,
            was_ready: false,
            resources,
            backoff: self.backoff,
            end: None,
        }
    }

    fn beside(&self, prepared: &Prepared, cgroup: Option<Cgroup>) -> Beside {
        let pair = |(name, value): (&String, &String)| (OsString::from(name), OsString::from(value));
        Beside {
            marker: self.marker(),
            environment: prepared.environment.iter().map(pair).collect(),
            directory: prepared.directory.clone(),
            map: prepared.map.clone(),
            image: prepared.image.clone(),
            cgroup,
        }
    }

    /// Takes over a process that runs. Its environment is read from the process itself, the rest from its record.
    pub(super) async fn adopt(
        &self,
        record: AttemptRecord,
        process: Process,
    ) -> Result<(Ledger, Running), Finished> {
        let paths = self.identity.layout.logs(&record.container, record.attempt);
        let capture = match self.site.pump.open(paths, self.site.config.logs).await {
            Ok(capture) => capture,
            // Without its log nobody could see what it does: it is replaced.
            Err(error) => {
                let why = format!("opening the log of a container that runs: {error}");
                return Err(Finished::NotCreated(Refusal::config("CreateContainerError", why)));
            }
        };
        let environment = procfs::environment(process.pid()).unwrap_or_default();
        let text: BTreeMap<String, String> = environment
            .iter()
            .map(|(k, v)| (k.to_string_lossy().into_owned(), v.to_string_lossy().into_owned()))
            .collect();
        let message = self.identity.layout.message(&record.container, record.attempt);
        let volumes = Volumes::new(self.identity.layout.volumes());
        let map = match self.container() {
            Ok(container) => path_map(&self.pod, container, &volumes, &text, &message).unwrap_or_default(),
            Err(_) => Default::default(),
        };
        let image = ImageRoot {
            id: record.image_id.clone(),
            bin_dirs: record.bin_dirs.clone(),
            host_programs: record.host_programs,
            ..ImageRoot::default()
        };
        let cgroup = self
            .site
            .cgroups
            .as_ref()
            .and_then(|root| root.existing(self.identity.uid.as_str(), &record.container));
        let directory = record.directory.clone();
        let beside = Arc::new(Beside { marker: self.marker(), environment, directory, map, image, cgroup });
        let since = record.started_at.unwrap_or(record.created_at);
        let running =
            Running { since, started: record.started, ready: record.ready, process, beside, capture };
        let ledger = Ledger::new(record, self.identity.clone());
        let id = running.process.id().clone();
        // Found by its marker because the node was killed before it could write down the number.
        if ledger.read(|record| record.process.is_none()).await {
            ledger
                .change(|record| {
                    record.process = Some(id);
                    record.started_at = Some(since);
                })
                .await;
        }
        Ok((ledger, running))
    }
}
