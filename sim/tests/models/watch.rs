use slotkeeper_sim::models::watch::{Event, Fate, News, Store, Watch, What};

type Pods = Store<&'static str, u32>;

const AT_ONCE: Fate = Fate { delay: 0, twice: false };

/// Returns a store, and a client that has received its first list.
fn watched(kept: usize) -> (Pods, Watch<u32>) {
    let store = Pods::new(kept);
    let mut watch = Watch::new();
    watch.resume(&store, false, 0, 0);
    assert_eq!(watch.poll(0), [Event { news: News::Relist(vec![]), version: 0 }]);
    (store, watch)
}

fn news(events: Vec<Event<u32>>) -> Vec<News<u32>> {
    events.into_iter().map(|e| e.news).collect()
}

#[test]
fn every_change_arrives_in_order_with_its_own_version() {
    let (mut store, mut watch) = watched(100);
    assert_eq!((store.put("a", 1, 10), store.put("a", 2, 20), store.put("b", 3, 30)), (1, 2, 3));
    assert_eq!((store.delete(&"a", 40), store.delete(&"a", 41)), (Some(4), None));
    watch.take(&store, |_| AT_ONCE);
    let events = watch.poll(40);
    let versions: Vec<u64> = events.iter().map(|e| e.version).collect();
    assert_eq!(versions, [1, 2, 3, 4]);
    assert_eq!(news(events), [News::Added(1), News::Modified(2), News::Added(3), News::Deleted(2)]);
    assert_eq!(store.list(), [3]);
}

#[test]
fn an_event_arrives_late_and_in_order() {
    let (mut store, mut watch) = watched(100);
    store.put("a", 1, 100);
    store.put("b", 2, 110);
    watch.take(&store, |change| Fate { delay: if change.object == 1 { 500 } else { 5 }, twice: false });
    assert_eq!((watch.poll(599), watch.next()), (vec![], Some(600)));
    assert_eq!(news(watch.poll(600)), [News::Added(1), News::Added(2)]);
    assert_eq!(watch.next(), None);
}

#[test]
fn an_event_may_arrive_twice() {
    let (mut store, mut watch) = watched(100);
    store.put("a", 1, 0);
    store.delete(&"a", 1);
    watch.take(&store, |change| Fate { delay: 0, twice: change.what == What::Deleted });
    let again = Event { news: News::Deleted(1), version: 2 };
    assert_eq!(watch.poll(1), [Event { news: News::Added(1), version: 1 }, again.clone(), again]);
}

#[test]
fn a_broken_watch_loses_events_in_flight_and_resumes_after_the_last_arrived() {
    let (mut store, mut watch) = watched(100);
    store.put("a", 1, 0);
    watch.take(&store, |_| AT_ONCE);
    assert_eq!(watch.poll(0).len(), 1);
    store.delete(&"a", 10);
    watch.take(&store, |_| Fate { delay: 1000, twice: false });
    watch.break_watch();
    store.put("b", 2, 20);
    watch.take(&store, |_| AT_ONCE);
    assert_eq!((watch.poll(5000), watch.is_open()), (vec![], false));
    watch.resume(&store, false, 6000, 0);
    watch.take(&store, |_| AT_ONCE);
    assert_eq!(news(watch.poll(6000)), [News::Deleted(1), News::Added(2)]);
}

#[test]
fn a_missed_deletion_shows_only_as_absence_in_a_complete_list() {
    let (mut store, mut watch) = watched(100);
    store.put("a", 1, 0);
    store.put("b", 2, 0);
    watch.take(&store, |_| AT_ONCE);
    watch.poll(0);
    watch.break_watch();
    store.delete(&"a", 10);
    watch.resume(&store, true, 100, 7);
    // Changes made while the list is in flight arrive after it.
    store.put("c", 3, 102);
    watch.take(&store, |_| AT_ONCE);
    assert_eq!(watch.poll(106), []);
    assert_eq!(
        watch.poll(107),
        [Event { news: News::Relist(vec![2]), version: 3 }, Event { news: News::Added(3), version: 4 }]
    );
}

#[test]
fn a_client_too_far_behind_has_to_list_again() {
    let (mut store, mut watch) = watched(2);
    store.put("a", 1, 0);
    watch.take(&store, |_| AT_ONCE);
    watch.poll(0);
    for n in 2..=4 {
        store.put("a", n, 0);
    }
    watch.take(&store, |_| AT_ONCE);
    assert!(!watch.is_open(), "three changes, two kept");
    watch.resume(&store, false, 10, 0);
    assert_eq!(watch.poll(10), [Event { news: News::Relist(vec![4]), version: 4 }]);
}
