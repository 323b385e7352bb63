//! Pure: what is known of pools, for a decision.

use std::collections::BTreeMap;

use skep_agent::quantity;
use skep_api::{MachineClassSpec, NodePool};
use skep_plan::expander::{Facts, Pool, Size, Stock};

use crate::hub::State;

pub(super) fn of(state: &State, stock: Stock) -> Facts {
    let known = |(name, pool): (&String, &NodePool)| {
        let class = state.classes.get(&pool.spec.template.machine_class)?;
        Some((name.clone(), known(pool, class)?))
    };
    Facts { pools: state.pools.iter().filter_map(known).collect::<BTreeMap<_, _>>(), stock }
}

fn known(pool: &NodePool, class: &MachineClassSpec) -> Option<Pool> {
    let zones = if pool.spec.zones.is_empty() { &class.zones } else { &pool.spec.zones };
    Some(Pool {
        class: pool.spec.template.machine_class.clone(),
        size: Size {
            milli_cpu: quantity::milli(&class.capacity.cpu)?,
            memory: quantity::units(&class.capacity.memory)?,
        },
        price: class
            .hourly_price
            .as_ref()
            .and_then(|price| price.parse().ok())
            .filter(|price: &f64| price.is_finite()),
        zones: zones.clone(),
    })
}
