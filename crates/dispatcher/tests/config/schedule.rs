//! Weekly schedules, around the changes to and from daylight saving time in Berlin (2026: 29 March 02:00 → 03:00,
//! 25 October 03:00 → 02:00).

use super::{PROCESSES, config};
use slotkeeper::config::schedule::Schedule;
use slotkeeper_core::Spare::{Percent, Slots};
use slotkeeper_core::{Spare, Time};

fn berlin(windows: &str) -> Schedule {
    let text = format!("[pools.a]\nspare = 1\nmax_pods = 100\ntime_zone = 'Europe/Berlin'\n{windows}\n{PROCESSES}");
    config(&text).pools.remove(0).schedule.unwrap()
}

fn window(days: &str, from: &str, to: &str, spare: u32) -> String {
    format!("[[pools.a.schedule]]\ndays = {days}\nfrom = '{from}'\nto = '{to}'\nspare = {spare}\n")
}

/// A time in UTC.
fn utc(text: &str) -> Time {
    let moment: jiff::Timestamp = format!("{text}:00Z").parse().unwrap();
    Time(u64::try_from(moment.as_millisecond()).unwrap())
}

fn at(schedule: &Schedule, moment: &str) -> Spare {
    schedule.now(utc(moment))
}

#[test]
fn outside_of_a_window_the_pools_own_spare_holds() {
    let schedule = berlin(&window("['mon-fri']", "08:00", "18:00", 4));
    // Monday 12 January 2026, winter: Berlin is an hour ahead.
    assert_eq!(at(&schedule, "2026-01-12T06:59"), Slots(1));
    assert_eq!(at(&schedule, "2026-01-12T07:00"), Slots(4));
    assert_eq!(at(&schedule, "2026-01-12T16:59"), Slots(4));
    assert_eq!(at(&schedule, "2026-01-12T17:00"), Slots(1));
    assert_eq!(at(&schedule, "2026-01-17T10:00"), Slots(1), "a Saturday");
    assert_eq!(schedule.next_change(utc("2026-01-16T17:00")), Some(utc("2026-01-19T07:00")), "over the weekend");
}

#[test]
fn daylight_saving_time_keeps_the_local_hours_of_a_window() {
    let schedule = berlin(&window("['daily']", "08:00", "18:00", 4));
    assert_eq!(schedule.next_change(utc("2026-03-28T17:00")), Some(utc("2026-03-29T06:00")));
    assert_eq!(schedule.next_change(utc("2026-10-24T16:00")), Some(utc("2026-10-25T07:00")));
}

#[test]
fn a_window_over_midnight_belongs_to_the_day_it_starts_on() {
    let schedule = berlin(&window("['sat']", "22:00", "06:00", 3));
    assert_eq!(at(&schedule, "2026-01-17T04:00"), Slots(1), "the night of Friday is not in the window");
    assert_eq!(at(&schedule, "2026-01-17T21:00"), Slots(3));
    assert_eq!(at(&schedule, "2026-01-18T04:59"), Slots(3), "Sunday morning");
    assert_eq!(at(&schedule, "2026-01-18T05:00"), Slots(1));
    // The night in which the clocks go forward has seven hours, the one in which they go back nine.
    assert_eq!(schedule.next_change(utc("2026-03-28T21:00")), Some(utc("2026-03-29T04:00")));
    assert_eq!(schedule.next_change(utc("2026-10-24T20:00")), Some(utc("2026-10-25T05:00")));
}

#[test]
fn a_start_in_the_skipped_hour_is_later_by_the_gap() {
    let schedule = berlin(&window("['sun']", "02:30", "05:00", 3));
    assert_eq!(at(&schedule, "2026-03-29T01:29"), Slots(1));
    assert_eq!(at(&schedule, "2026-03-29T01:30"), Slots(3), "03:30 in Berlin");
    assert_eq!(at(&schedule, "2026-03-29T03:00"), Slots(1), "05:00 in Berlin");
}

#[test]
fn a_window_inside_of_the_skipped_hour_is_left_out_that_week() {
    let schedule = berlin(&window("['sun']", "02:30", "03:00", 3));
    assert_eq!(schedule.next_change(utc("2026-03-28T12:00")), Some(utc("2026-04-05T00:30")));
}

#[test]
fn an_ambiguous_local_time_means_its_first_occurrence() {
    let schedule = berlin(&window("['sun']", "01:00", "02:30", 3));
    assert_eq!(at(&schedule, "2026-10-25T00:29"), Slots(3));
    assert_eq!(at(&schedule, "2026-10-25T00:30"), Slots(1), "02:30 for the first time");
    assert_eq!(at(&schedule, "2026-10-25T01:30"), Slots(1), "02:30 for the second time");
}

#[test]
fn the_largest_of_overlapping_windows_holds_even_below_the_pools_own_spare() {
    let night = window("['daily']", "00:00", "24:00", 0);
    let schedule = berlin(&(night + &window("'mon'", "08:00", "12:00", 2) + &window("'mon'", "10:00", "11:00", 7)));
    assert_eq!(at(&schedule, "2026-01-12T06:00"), Slots(0));
    assert_eq!(at(&schedule, "2026-01-12T08:00"), Slots(2));
    assert_eq!(at(&schedule, "2026-01-12T09:30"), Slots(7));
    assert_eq!(schedule.next_change(utc("2026-01-12T09:30")), Some(utc("2026-01-12T10:00")));
}

#[test]
fn a_range_of_days_may_cross_the_end_of_the_week() {
    let schedule = berlin(&window("['sat-mon']", "00:00", "24:00", 2));
    assert_eq!(at(&schedule, "2026-01-12T12:00"), Slots(2), "Monday");
    assert_eq!(at(&schedule, "2026-01-13T12:00"), Slots(1), "Tuesday");
    assert_eq!(schedule.next_change(utc("2026-01-13T12:00")), Some(utc("2026-01-16T23:00")));
    assert_eq!(schedule.next_change(utc("2026-01-17T12:00")), Some(utc("2026-01-19T23:00")), "midnight is no change");
}

#[test]
fn a_constant_schedule_has_no_next_change() {
    assert_eq!(berlin(&window("'daily'", "00:00", "24:00", 5)).next_change(utc("2026-01-12T12:00")), None);
    assert_eq!(berlin(&window("'mon'", "08:00", "12:00", 1)).next_change(utc("2026-01-12T12:00")), None);
}

#[test]
fn percentages_and_whole_days() {
    let schedule = berlin("[[pools.a.schedule]]\ndays = ['sun']\nspare = '25%'\n");
    assert_eq!(at(&schedule, "2026-01-18T12:00"), Percent(25));
    assert_eq!(at(&schedule, "2026-01-19T12:00"), Slots(1));
}

#[test]
fn extreme_times_do_not_panic() {
    let schedule = berlin(&window("'daily'", "22:00", "06:00", 5));
    for moment in [0, 1, 253_402_207_199_999, 253_402_300_799_999, i64::MAX as u64, u64::MAX] {
        let _ = (schedule.now(Time(moment)), schedule.next_change(Time(moment)));
    }
}
