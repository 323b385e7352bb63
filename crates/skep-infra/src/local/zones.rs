//! Makes the way between zones worse than the way inside one, for tests.
//!
//! A machine's hardware address says its zone, so each machine sorts what it sends by the receiver's: into the queue that
//! delays and loses, or past it. Nothing has to change when machines come and go.

use super::{
    cable::INTERFACE,
    hands::Hands,
    names::{MACHINE_MAC, Names},
    record::Record,
    settings::ZoneLink,
};
use crate::{Error, Result};

/// What the kernel needs for it.
const FEATURE: &str = "the queueing disciplines netem and prio";

/// Sets it up in a machine's new namespace.
pub(super) async fn worsen(hands: &Hands, record: &Record, names: &Names, link: ZoneLink) -> Result<()> {
    for command in commands(record.zone_number, link) {
        let mut args = vec!["-netns", names.netns.as_str()];
        args.extend(command.split(' '));
        hands.run("tc", &args, "").await?;
    }
    Ok(())
}

/// Tries it in a namespace that goes again at once.
pub(super) async fn check(hands: &Hands) -> Result<()> {
    let link = ZoneLink { delay: std::time::Duration::from_millis(1), loss: 1.0 };
    let commands = commands(1, link).map(|command| format!("tc {command}"));
    let script = format!("ip link add {INTERFACE} type veth && {}", commands.join(" && "));
    let tried = hands.run("unshare", &["--net", "sh", "-c", &script], "").await;
    tried.map(drop).map_err(|error| Error::NoKernelFeature { feature: FEATURE, reason: error.reason() })
}

/// `tc` commands: everything goes by the first queue, machines of other zones by the third, and there through netem. The
/// receiver's hardware address begins 14 bytes before the packet that filters count from (tc-u32(8)).
fn commands(zone: u8, link: ZoneLink) -> [String; 4] {
    let first_queue = ["0"; 16].join(" ");
    let filter = format!("filter add dev {INTERFACE} parent 1: protocol all");
    [
        format!("qdisc add dev {INTERFACE} root handle 1: prio bands 3 priomap {first_queue}"),
        format!(
            "qdisc add dev {INTERFACE} parent 1:3 handle 3: netem delay {}us loss {}%",
            link.delay.as_micros(),
            link.loss
        ),
        format!("{filter} prio 1 u32 match u16 0x{MACHINE_MAC:02x}{zone:02x} 0xffff at -14 flowid 1:1"),
        format!("{filter} prio 2 u32 match u8 0x{MACHINE_MAC:02x} 0xff at -14 flowid 1:3"),
    ]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn own_zone_passes_by_and_others_do_not() {
        let link = ZoneLink { delay: Duration::from_micros(2500), loss: 0.5 };
        let [_, netem, own, others] = commands(10, link);
        assert_eq!(netem, "qdisc add dev eth0 parent 1:3 handle 3: netem delay 2500us loss 0.5%");
        assert!(own.ends_with("prio 1 u32 match u16 0x060a 0xffff at -14 flowid 1:1"), "{own}");
        assert!(others.ends_with("prio 2 u32 match u8 0x06 0xff at -14 flowid 1:3"), "{others}");
    }
}
