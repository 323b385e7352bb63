use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

/// A socket that gives and takes what a script says; `None` is "not now".
#[derive(Default)]
struct Script {
    steps: VecDeque<Option<usize>>,
    data: Vec<u8>,
    given: usize,
    got: Vec<u8>,
    breaks: bool,
}

impl Script {
    fn step(&mut self, cx: &Context<'_>) -> Option<usize> {
        let step = self.steps.pop_front().unwrap_or(Some(usize::MAX));
        if step.is_none() {
            cx.waker().wake_by_ref();
        }
        step
    }
}

impl AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(most) = self.step(cx) else { return Poll::Pending };
        let n = most.max(1).min(self.data.len() - self.given).min(to.remaining());
        to.put_slice(&self.data[self.given..self.given + n]);
        self.given += n;
        if n == 0 && self.breaks {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let Some(most) = self.step(cx) else { return Poll::Pending };
        if self.breaks && self.got.len() > 100 {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let n = most.max(1).min(from.len());
        self.got.extend_from_slice(&from[..n]);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn run(half: &mut Half, from: &mut Script, to: &mut Script) -> (Result<(), Failed>, usize) {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let mut counted = 0;
    for _ in 0..10_000 {
        if let Poll::Ready(ended) = half.poll(&mut cx, from, to, |n| counted += n) {
            return (ended, counted);
        }
    }
    panic!("did not end");
}

fn steps() -> impl Strategy<Value = VecDeque<Option<usize>>> {
    prop::collection::vec(prop::option::weighted(0.7, 1usize..5_000), 0..60).prop_map(VecDeque::from)
}

fn data(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * 31 % 251) as u8).collect()
}

proptest! {
    #[test]
    fn everything_arrives_once_and_in_order(
        length in 0usize..200_000, before in 0usize..3_000, reads in steps(), writes in steps(),
    ) {
        let all = data(before + length);
        let mut from = Script { steps: reads, data: all[before..].to_vec(), ..Script::default() };
        let mut to = Script { steps: writes, ..Script::default() };
        let mut half = Half::with_pending(&all[..before]);
        let (ended, counted) = run(&mut half, &mut from, &mut to);
        prop_assert!(ended.is_ok() && half.is_over() && half.is_all_read());
        prop_assert_eq!(counted, length);
        prop_assert_eq!(half.moved(), length as u64);
        prop_assert!(to.got == all);
        prop_assert_eq!(half.pending.capacity(), 0, "an idle direction holds memory");
    }

    #[test]
    fn what_was_read_before_a_reset_is_delivered(length in 1usize..50_000, reads in steps(), writes in steps()) {
        let mut from = Script { steps: reads, data: data(length), breaks: true, ..Script::default() };
        let mut to = Script { steps: writes, ..Script::default() };
        let (ended, _) = run(&mut Half::default(), &mut from, &mut to);
        prop_assert!(matches!(ended, Err(Failed::Read)));
        prop_assert!(to.got == data(length));
    }

    #[test]
    fn a_listener_that_broke_ends_it(writes in steps()) {
        let mut from = Script { data: data(200_000), ..Script::default() };
        let mut to = Script { steps: writes, breaks: true, ..Script::default() };
        let mut half = Half::default();
        let (ended, _) = run(&mut half, &mut from, &mut to);
        prop_assert!(matches!(ended, Err(Failed::Write)));
        prop_assert!(half.is_over() && !half.is_all_read());
    }

    #[test]
    fn never_reads_ahead_of_a_listener_that_takes_nothing(length in 1usize..300_000) {
        let mut from = Script { data: data(length), ..Script::default() };
        let mut to = Script { steps: vec![None; 100].into(), ..Script::default() };
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut half = Half::default();
        for _ in 0..50 {
            prop_assert!(half.poll(&mut cx, &mut from, &mut to, |_| ()).is_pending());
        }
        prop_assert!(from.given <= scratch::SIZE);
    }

    #[test]
    fn what_is_held_goes_out_afterwards_in_one_piece(
        length in 0usize..60_000, before in 0usize..3_000, reads in steps(), breaks: bool,
    ) {
        let all = data(before + length);
        let mut from = Script { steps: reads, data: all[before..].to_vec(), breaks, ..Script::default() };
        let mut to = Script::default();
        let mut half = Half::with_pending(&all[..before]);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut counted = 0;
        while half.poll_held(&mut cx, &mut from, |n| counted += n).is_pending() {}
        prop_assert_eq!((counted, half.moved()), (length, length as u64));
        prop_assert!(!half.is_over() && half.pending == all);
        let (ended, _) = run(&mut half, &mut from, &mut to);
        prop_assert_eq!(matches!(ended, Err(Failed::Read)), breaks);
        prop_assert!(ended.is_ok() != breaks && to.got == all);
        prop_assert_eq!(half.pending.capacity(), 0, "an idle direction holds memory");
    }

    #[test]
    fn no_more_than_one_buffer_is_held(length in 0usize..200_000, before in 0usize..3_000, writes in steps()) {
        let all = data(before + scratch::SIZE + length);
        let mut from = Script { data: all[before..].to_vec(), ..Script::default() };
        let mut to = Script { steps: writes, ..Script::default() };
        let mut half = Half::with_pending(&all[..before]);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        for _ in 0..9 {
            let held = half.poll_held(&mut cx, &mut from, |_| ());
            prop_assert!(held.is_pending() && half.pending.len() <= scratch::SIZE);
        }
        let (ended, _) = run(&mut half, &mut from, &mut to);
        prop_assert!(ended.is_ok() && to.got == all);
    }
}
