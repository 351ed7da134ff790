//! The operations of `keda.json`.

use super::Operation;
use super::fields::{Fields, Wrong};
use crate::models::hpa::Target;
use crate::models::keda::{
    self, Active, Annotations, Decision, End, Failure, Fallback, FallbackBehavior, Keda, MetricValue, Moment,
    PrometheusTrigger, Reading, Ready, Release, Replicas, ScaledObject, Series, Stream, Trigger,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(super) const OPERATIONS: &[(&str, Operation)] = &[
    ("decide", decide),
    ("prometheus", prometheus),
    ("fallback", fallback),
    ("externalMetric", external_metric),
    ("externalTarget", external_target),
    ("push", push),
    ("reconnect", reconnect),
    ("hpaBounds", hpa_bounds),
    ("unreachable", unreachable),
    ("timeline", timeline),
];

/// The moment of a call: ages are subtracted from it.
const NOW: u64 = 1_000_000_000_000;
/// Maximum length of timelines, in polls.
const MOST_POLLS: u64 = 1_000_000;

fn decide(input: &Fields<'_>) -> Result<Value, Wrong> {
    let usual = ScaledObject::default();
    let object = ScaledObject {
        min: min_of(input)?,
        idle: input.maybe("idleReplicaCount")?,
        cooldown: input.maybe_seconds("cooldownPeriod")?.unwrap_or(usual.cooldown),
        initial_cooldown: input.maybe_seconds("initialCooldownPeriod")?.unwrap_or(usual.initial_cooldown),
        fallback: fallback_of(input)?,
        annotations: Annotations(input.or("annotations", BTreeMap::new())?),
        ..usual
    };
    let moment = Moment {
        now: NOW,
        current: input.get("currentReplicas")?,
        active: input.get("isActive")?,
        error: input.get("isError")?,
        last_active: input.maybe_seconds("lastActiveAgeSeconds")?.map(|age| NOW - age),
        created: NOW - input.seconds("ageSeconds")?,
    };
    let Decision { set, refreshed, active, ready, paused } = keda::decide(&object, &moment);
    Ok(json!({
        "setReplicas": set,
        "lastActiveTimeUpdated": refreshed,
        "active": active.map(|why| match why {
            Active::ScalerActive => "ScalerActive",
            Active::ScalerNotActive => "ScalerNotActive",
            Active::ScalerCooldown => "ScalerCooldown",
        }),
        "ready": match ready {
            Ready::True => "True",
            Ready::PartialTriggerError => "Unknown/PartialTriggerError",
            Ready::TriggerError => "False/TriggerError",
        },
        "paused": paused,
    }))
}

fn prometheus(input: &Fields<'_>) -> Result<Value, Wrong> {
    let trigger = PrometheusTrigger {
        ignore_null_values: input.or("ignoreNullValues", true)?,
        activation_threshold: input.or("activationThreshold", 0.0)?,
    };
    let series = match input.maybe::<Vec<Option<Vec<Value>>>>("result")? {
        None => Vec::new(),
        Some(lists) => lists.into_iter().map(|list| one_series(input, list)).collect::<Result<Vec<_>, _>>()?,
    };
    // Without a status, the server has not answered.
    let status: Option<u16> = input.maybe("httpStatus")?;
    let answer = status.filter(|s| (200..300).contains(s)).map(|_| series.as_slice());
    Ok(match trigger.value_of_series(answer) {
        Ok(value) => json!({ "error": false, "value": value, "active": trigger.is_active(value) }),
        Err(_) => json!({ "error": true, "value": null, "active": null }),
    })
}

/// Interprets the `value` list of one series: a time and a string, or fewer or more elements.
fn one_series(input: &Fields<'_>, list: Option<Vec<Value>>) -> Result<Series, Wrong> {
    Ok(match list.as_deref() {
        None | Some([]) => Series::NoValue,
        Some([_]) => Series::TimeOnly,
        Some([_, Value::Null, ..]) => Series::Null,
        Some([_, Value::String(text), ..]) => text.parse().map_or(Series::NoNumber, Series::Number),
        Some([_, other, ..]) => {
            return Err(input.wrong("result", format!("holds the value {other}, expected a text or null")));
        }
    })
}

/// `minReplicaCount` defaults to 0.
fn min_of(input: &Fields<'_>) -> Result<u32, Wrong> {
    input.or("minReplicaCount", ScaledObject::default().min)
}

fn fallback(input: &Fields<'_>) -> Result<Value, Wrong> {
    let fallback = fallback_of(input)?;
    let milli = keda::target_milli(0, input.get("target")?);
    let average = input.word("targetType", &[("AverageValue", true), ("Value", false)])?;
    let target = if average { Target::AverageValue(milli) } else { Target::Value(milli) };
    let now = Replicas { current: input.get("currentReplicas")?, ready: input.or("readyReplicas", 0)? };
    let (before, failed) = (input.get("failuresBefore")?, input.get("scalerError")?);
    let evaluation = keda::evaluate(fallback.as_ref(), before, failed, target, now);
    Ok(json!({
        "failuresAfter": evaluation.failures,
        "fallbackActive": evaluation.synthetic.is_some(),
        "error": evaluation.error,
        "metricMilli": evaluation.synthetic,
    }))
}

fn external_metric(input: &Fields<'_>) -> Result<Value, Wrong> {
    let value =
        |f: &Fields<'_>| Ok(MetricValue { whole: f.or("metricValue", 0)?, float: float(f, "metricValueFloat")? });
    let milli: Vec<i64> = input.each("metricValues", value)?.into_iter().map(keda::value_milli).collect();
    let sum = milli.iter().fold(0_i64, |sum, value| sum.saturating_add(*value));
    Ok(json!({ "milli": milli, "hpaSumMilli": sum }))
}

fn external_target(input: &Fields<'_>) -> Result<Value, Wrong> {
    let milli = keda::target_milli(input.or("targetSize", 0)?, float(input, "targetSizeFloat")?);
    Ok(json!({ "targetMilli": milli }))
}

/// Reads a float as protobuf's JSON encodes it: a non-finite number is a string ("NaN", "Infinity"); 0 may be absent.
fn float(fields: &Fields<'_>, key: &'static str) -> Result<f64, Wrong> {
    match fields.maybe::<Value>(key)? {
        None => Ok(0.0),
        Some(Value::String(text)) => {
            text.parse().map_err(|_| fields.wrong(key, format!("is {text:?}, which is not a number")))
        }
        Some(_) => fields.get(key),
    }
}

fn push(input: &Fields<'_>) -> Result<Value, Wrong> {
    let object = ScaledObject { min: min_of(input)?, ..ScaledObject::default() };
    let mut keda = Keda::new(object, one_trigger(), Release::V2_20, 0);
    let (active, known) = (input.get("result")?, input.get("metricNameKnown")?);
    let decision = keda.push(active, known, input.get("currentReplicas")?, NOW);
    Ok(json!({
        "setReplicas": decision.and_then(|d| d.set),
        "lastActiveTimeUpdated": decision.is_some_and(|d| d.refreshed),
    }))
}

fn reconnect(input: &Fields<'_>) -> Result<Value, Wrong> {
    let mut stream = Stream::default();
    let wait = |end: String| match end.as_str() {
        "error" => Ok(stream.ended(End::Error) / 1000),
        "eof" => Ok(stream.ended(End::Clean) / 1000),
        other => Err(input.wrong("streamEnds", format!("holds {other:?}, expected error or eof"))),
    };
    let waits = input.get::<Vec<String>>("streamEnds")?.into_iter().map(wait).collect::<Result<Vec<_>, _>>()?;
    Ok(json!({ "waitsSeconds": waits }))
}

fn hpa_bounds(input: &Fields<'_>) -> Result<Value, Wrong> {
    let (min, max) = (min_of(input)?, input.maybe("maxReplicaCount")?);
    let (hpa_min, hpa_max) = keda::hpa_bounds(&ScaledObject { min, max, ..ScaledObject::default() });
    Ok(json!({ "hpaMin": hpa_min, "hpaMax": hpa_max }))
}

fn unreachable(input: &Fields<'_>) -> Result<Value, Wrong> {
    let polls: u64 = input.get("polls")?;
    let failure = input.word("failsAt", &[("GetMetricSpec", Failure::Spec), ("GetMetrics", Failure::Metrics)])?;
    let object = ScaledObject { fallback: fallback_of(input)?, ..ScaledObject::default() };
    let period = object.polling;
    let mut keda = Keda::new(object, one_trigger(), Release::V2_20, 0);
    let mut replicas = Replicas { current: input.get("currentReplicas")?, ready: 0 };
    let mut stands_in = false;
    for poll in 0..few(input, "polls", polls)? {
        let decision = keda.poll(&[Err(failure)], replicas, poll * period);
        replicas.current = decision.set.unwrap_or(replicas.current);
        // A failing trigger is active only through its fallback.
        stands_in = decision.active == Some(Active::ScalerActive);
    }
    Ok(json!({
        "failuresAfter": keda.failures(0),
        "fallbackActive": stands_in,
        "replicas": replicas.current,
    }))
}

fn timeline(input: &Fields<'_>) -> Result<Value, Wrong> {
    let usual = ScaledObject::default();
    let object = ScaledObject {
        min: min_of(input)?,
        polling: input.maybe_seconds("pollingInterval")?.unwrap_or(usual.polling).max(1000),
        cooldown: input.maybe_seconds("cooldownPeriod")?.unwrap_or(usual.cooldown),
        ..usual
    };
    let from = input.maybe_seconds("activeFromSecond")?.unwrap_or(0);
    let until = input.maybe_seconds("activeUntilSecond")?.unwrap_or(u64::MAX);
    let end = input.seconds("untilSecond")?;
    few(input, "untilSecond", end / object.polling)?;
    let mut keda = Keda::new(object, one_trigger(), Release::V2_20, 0);
    let mut current = input.get("initialReplicas")?;
    let mut changes = Vec::new();
    let mut now = 0;
    while now <= end {
        let active = from <= now && now < until;
        let reading = Reading { active, milli: vec![i64::from(active) * 1000] };
        if let Some(to) = keda.poll(&[Ok(reading)], Replicas { current, ready: current }, now).set {
            current = to;
            changes.push((now / 1000, to));
        }
        now += keda.object.polling;
    }
    Ok(json!({ "changes": changes }))
}

fn one_trigger() -> Vec<Trigger> {
    vec![Trigger { target: Target::AverageValue(1000), cached: false }]
}

fn few(input: &Fields<'_>, key: &str, polls: u64) -> Result<u64, Wrong> {
    if polls > MOST_POLLS {
        return Err(input.wrong(key, format!("makes {polls} polls, expected at most {MOST_POLLS}")));
    }
    Ok(polls)
}

fn fallback_of(input: &Fields<'_>) -> Result<Option<Fallback>, Wrong> {
    let Some(inner) = input.maybe_inner("fallback")? else { return Ok(None) };
    let words = [
        ("static", FallbackBehavior::Static),
        ("currentReplicas", FallbackBehavior::CurrentReplicas),
        ("currentReplicasIfHigher", FallbackBehavior::CurrentReplicasIfHigher),
        ("currentReplicasIfLower", FallbackBehavior::CurrentReplicasIfLower),
    ];
    let fallback = Fallback {
        threshold: inner.get("failureThreshold")?,
        replicas: inner.get("replicas")?,
        behavior: match inner.maybe::<String>("behavior")? {
            Some(_) => inner.word("behavior", &words)?,
            None => FallbackBehavior::default(),
        },
    };
    inner.done()?;
    Ok(Some(fallback))
}
