//! `skep down`

use skep_embedded::attach::{self, Down};

use super::up::Steps;
use crate::{cli::Global, error::Result, hub, output};

pub async fn run(global: &Global) -> Result<()> {
    let layout = hub::layout(global)?;
    let mut steps = Steps::new(global.quiet);
    // Steps of the start are old news.
    let mut old = None;
    let down = attach::down(&layout, |snapshot| {
        let old = *old.get_or_insert(snapshot.steps.len());
        let mut new = snapshot.clone();
        new.steps = new.steps.into_iter().skip(old).collect();
        steps.show(&new);
    })
    .await?;
    steps.finish();
    output::print(&match down {
        Down::Stopped => "skep is stopped; all data stays\n".to_owned(),
        Down::Cleaned(count) => {
            format!("skep did not run; ended {count} processes that it had left behind\n")
        }
    })
}
