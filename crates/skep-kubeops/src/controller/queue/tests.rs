//! The queue against its promises, for any sequence of events.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use proptest::prelude::*;
use tokio::time::Instant;

use super::Queue;

const REST: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
enum Step {
    Add(u8),
    Next,
    /// Ends the run of a key (if it runs), due again after so many seconds, or not.
    Done(u8, Option<u8>),
    Forget(u8),
    /// Lets so many halves of a second pass.
    Wait(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0..4_u8;
    let step = prop_oneof![
        3 => key.clone().prop_map(Step::Add),
        4 => Just(Step::Next),
        3 => (key.clone(), proptest::option::of(0..6_u8)).prop_map(|(key, due)| Step::Done(key, due)),
        1 => key.prop_map(Step::Forget),
        2 => (0..4_u8).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 0..80)
}

/// What the queue owes, kept in the simplest way.
#[derive(Default)]
struct Model {
    running: HashSet<u8>,
    /// Added since they were last handed out.
    owed: HashSet<u8>,
    due: HashMap<u8, Instant>,
    rests: HashMap<u8, Instant>,
}

impl Model {
    /// What is due becomes owed.
    fn ripen(&mut self, now: Instant) {
        let (due, later): (HashMap<_, _>, HashMap<_, _>) =
            self.due.drain().partition(|(_, when)| *when <= now);
        self.owed.extend(due.keys());
        self.due = later;
    }

    fn ready(&self) -> HashSet<u8> {
        self.owed.difference(&self.running).copied().collect()
    }
}

proptest! {
    #[test]
    fn every_promise_holds(steps in steps()) {
        let mut now = Instant::now();
        let mut queue = Queue::new(REST);
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Add(key) => {
                    queue.add(key, now);
                    let idle = !model.running.contains(&key) && !model.owed.contains(&key);
                    match model.rests.get(&key).filter(|until| idle && **until > now) {
                        Some(until) => {
                            let when = model.due.get(&key).map_or(*until, |due| *due.min(until));
                            model.due.insert(key, when);
                        }
                        None => {
                            model.owed.insert(key);
                            model.due.remove(&key);
                        }
                    }
                }
                Step::Next => {
                    model.ripen(now);
                    let ready = model.ready();
                    match queue.next(now) {
                        Some(key) => {
                            prop_assert!(ready.contains(&key), "{key} was handed out without being ready");
                            prop_assert!(model.running.insert(key), "{key} runs twice");
                            model.owed.remove(&key);
                        }
                        None => prop_assert!(ready.is_empty(), "{ready:?} ready but not handed out"),
                    }
                }
                Step::Done(key, due) => {
                    let again = due.map(|seconds| now + Duration::from_secs(seconds.into()));
                    queue.done(&key, now, again);
                    if model.running.remove(&key) {
                        let when = if model.owed.remove(&key) { Some(now + REST) } else { again };
                        model.rests.remove(&key);
                        if let Some(when) = when {
                            model.due.insert(key, when);
                            model.rests.insert(key, now + REST);
                        }
                    }
                }
                Step::Forget(key) => {
                    queue.forget(&key);
                    model.due.remove(&key);
                    if !model.running.contains(&key) {
                        model.owed.remove(&key);
                        model.rests.remove(&key);
                    }
                }
                Step::Wait(halves) => now += Duration::from_millis(500) * halves.into(),
            }
            prop_assert_eq!(queue.next_due(), model.due.values().min().copied());
        }
    }

    #[test]
    fn an_emptied_queue_holds_no_memory_of_its_keys(keys in proptest::collection::vec(any::<u16>(), 0..50)) {
        let mut queue = Queue::new(REST);
        let now = Instant::now();
        for key in &keys {
            queue.add(*key, now);
        }
        while let Some(key) = queue.next(now) {
            queue.done(&key, now, None);
        }
        prop_assert!(queue.entries.is_empty() && queue.ready.is_empty() && queue.due.is_empty());
    }
}

#[test]
fn keys_are_handed_out_in_the_order_they_became_ready() {
    let mut queue = Queue::new(REST);
    let now = Instant::now();
    for key in ["a", "b", "c", "a"] {
        queue.add(key, now);
    }
    let order: Vec<_> = std::iter::from_fn(|| queue.next(now)).collect();
    assert_eq!(order, ["a", "b", "c"]);
}
