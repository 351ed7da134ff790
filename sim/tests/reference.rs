//! Every kind of observation reaches the second oracle.

use slotkeeper_sim::proof::world::play;
use slotkeeper_sim::proof::world::setting::Setting;
use std::collections::BTreeMap;

#[test]
fn the_second_oracle_sees_visitors_pods_sizes_and_the_operator() {
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    for seed in 1..4 {
        let outcome = play(&Setting::plain(seed), false);
        assert_eq!(outcome.violations, []);
        for (what, times) in outcome.coverage {
            *seen.entry(what).or_default() += times;
        }
    }
    for what in [
        "Sign",
        "Connected",
        "Told",
        "Stream",
        "Notified",
        "Closed",
        "Leaves",
        "Kicked",
        "Pod",
        "Ordered",
        "Stored",
        "Clock",
    ] {
        let times = seen.get(&format!("outsiders: {what}")).copied().unwrap_or_default();
        assert!(times > 0, "no observer reported {what}: {seen:?}");
    }
}
