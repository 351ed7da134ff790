//! The operations of `hpa.json`.

use super::Operation;
use super::fields::{Fields, Wrong};
use crate::models::hpa::{
    self, AbleToScale, Behavior, Controller, Event, Events, Gates, History, Hpa, Limited, Metric, NoAnswer, Policy,
    PolicyKind, Recent, Recommendation, Rules, Scale, ScalingActive, Select, Spec, Target, Tolerance, Windows,
};
use serde_json::{Value, json};

pub(super) const OPERATIONS: &[(&str, Operation)] = &[
    ("proposal", proposal),
    ("stabilize", stabilize),
    ("limit", limit),
    ("reconcile", reconcile),
    ("timeline", timeline),
];

/// The moment of a call: ages are subtracted from it.
const NOW: u64 = 1_000_000_000_000;

fn proposal(input: &Fields<'_>) -> Result<Value, Wrong> {
    let tolerance =
        Tolerance { up: input.get("toleranceUp")?, down: input.get("toleranceDown")?, old_comparison: false };
    let scale = scale(input)?;
    let inner = input.inner("metric")?;
    let metric = metric(&inner)?;
    inner.done()?;
    // The controller treats an error and an empty list alike: no proposal.
    let values = metric.answer.ok().filter(|values| !values.is_empty());
    let replicas = values.as_ref().and_then(|values| hpa::proposal(metric.target, values, scale, tolerance));
    let reported = values.as_ref().and_then(|values| hpa::reported(values, scale.status));
    Ok(json!({ "replicas": replicas, "reportedMilli": reported }))
}

fn stabilize(input: &Fields<'_>) -> Result<Value, Wrong> {
    let (up, down) = (input.seconds("scaleUpWindowSeconds")?, input.seconds("scaleDownWindowSeconds")?);
    let windows = if input.get("behaviorSet")? { Windows::Behavior { up, down } } else { Windows::Plain { down } };
    let mut history = History(input.each("history", recommendation)?);
    let replicas = history.stabilize(input.get("currentReplicas")?, input.get("desired")?, windows, NOW);
    Ok(json!({ "replicas": replicas, "historyLength": history.0.len() }))
}

fn limit(input: &Fields<'_>) -> Result<Value, Wrong> {
    let given = behavior(input)?;
    let behavior = if input.get("behaviorSet")? { Some(given.unwrap_or_default()) } else { None };
    let (ups, downs) = (events(input, "scaleUpEvents")?, events(input, "scaleDownEvents")?);
    let recent = Recent { ups: &ups, downs: &downs, now: NOW };
    let bounds = (min_of(input)?, input.get("maxReplicas")?);
    let (current, desired) = (input.get("currentReplicas")?, input.get("desired")?);
    let (replicas, why) = hpa::limit(behavior.as_ref(), current, desired, bounds, recent);
    Ok(json!({ "replicas": replicas, "reason": limited(why) }))
}

fn reconcile(input: &Fields<'_>) -> Result<Value, Wrong> {
    let scale = scale(input)?;
    let gates = match input.maybe_inner("gates")? {
        None => Controller::default().gates,
        Some(inner) => {
            let gates = Gates {
                configurable_tolerance: inner.or("HPAConfigurableTolerance", true)?,
                scale_to_zero: inner.or("HPAScaleToZero", false)?,
            };
            inner.done()?;
            gates
        }
    };
    let mut hpa = Hpa::new(spec(input)?, Controller { gates, ..Controller::default() }, 0);
    hpa.history = input.maybe_each("history", recommendation)?.map(History);
    hpa.ups = events(input, "scaleUpEvents")?;
    hpa.downs = events(input, "scaleDownEvents")?;
    hpa.scaled_to_zero = input.or("scaledToZeroCondition", false)?;
    let sync = hpa.reconcile(Some(scale), &input.each("metrics", metric)?, NOW);
    Ok(json!({
        "replicas": sync.write.unwrap_or(scale.spec),
        "scaled": sync.write.is_some(),
        "ableToScale": able_to_scale(sync.able_to_scale),
        "scalingActive": sync.scaling_active.map(scaling_active),
        "scalingLimited": sync.scaling_limited.map(limited),
        "error": sync.error,
    }))
}

/// One step of a metric over time.
struct Step {
    from: u64,
    answer: hpa::Answer,
}

fn timeline(input: &Fields<'_>) -> Result<Value, Wrong> {
    let mut hpa = Hpa::new(spec(input)?, Controller::default(), 0);
    let target = Target::AverageValue(input.get("targetMilli")?);
    let steps = input.each("metric", |step| {
        let answer = if step.or("error", false)? { Err(NoAnswer) } else { Ok(vec![step.get("valueMilli")?]) };
        step.or("valueMilli", 0)?;
        Ok(Step { from: step.seconds("fromSecond")?, answer })
    })?;
    let mut replicas: u32 = input.pods("initialReplicas")?;
    let mut after = Vec::new();
    for second in input.get::<Vec<f64>>("syncs")? {
        let now = input.milliseconds("syncs", second)?;
        let answer = steps.iter().rev().find(|step| step.from <= now).map_or(Err(NoAnswer), |step| step.answer.clone());
        let scale = Scale { spec: replicas, status: replicas, ready: replicas };
        let sync = hpa.reconcile(Some(scale), &[Metric { target, answer }], now);
        replicas = sync.write.unwrap_or(replicas);
        after.push((second, replicas));
    }
    Ok(json!({ "replicasAfterSync": after }))
}

fn spec(input: &Fields<'_>) -> Result<Spec, Wrong> {
    Ok(Spec { min: min_of(input)?, max: input.get("maxReplicas")?, behavior: behavior(input)? })
}

/// `minReplicas` defaults to 1, in the API server and in the controller.
fn min_of(input: &Fields<'_>) -> Result<u32, Wrong> {
    input.or("minReplicas", 1)
}

fn scale(input: &Fields<'_>) -> Result<Scale, Wrong> {
    let status = input.get("statusReplicas")?;
    Ok(Scale { spec: input.get("specReplicas")?, status, ready: input.or("readyPods", status)? })
}

fn metric(fields: &Fields<'_>) -> Result<Metric, Wrong> {
    if fields.or("error", false)? {
        return Ok(Metric { target: Target::AverageValue(1000), answer: Err(NoAnswer) });
    }
    let milli = fields.get("targetMilli")?;
    let average = fields.word("targetType", &[("AverageValue", true), ("Value", false)])?;
    let target = if average { Target::AverageValue(milli) } else { Target::Value(milli) };
    Ok(Metric { target, answer: Ok(fields.get("valuesMilli")?) })
}

fn recommendation(fields: &Fields<'_>) -> Result<Recommendation, Wrong> {
    Ok(Recommendation { at: NOW - fields.seconds("ageSeconds")?, replicas: fields.get("replicas")? })
}

fn events(input: &Fields<'_>, key: &'static str) -> Result<Events, Wrong> {
    let event = |f: &Fields<'_>| Ok(Event { at: NOW - f.seconds("ageSeconds")?, change: f.get("change")? });
    Ok(Events(input.maybe_each(key, event)?.unwrap_or_default()))
}

fn behavior(input: &Fields<'_>) -> Result<Option<Behavior>, Wrong> {
    let Some(inner) = input.maybe_inner("behavior")? else { return Ok(None) };
    let behavior = Behavior { scale_up: rules(&inner, "scaleUp")?, scale_down: rules(&inner, "scaleDown")? };
    inner.done()?;
    Ok(Some(behavior))
}

fn rules(behavior: &Fields<'_>, key: &'static str) -> Result<Rules, Wrong> {
    let Some(inner) = behavior.maybe_inner(key)? else { return Ok(Rules::default()) };
    let words = [("Max", Select::Max), ("Min", Select::Min), ("Disabled", Select::Disabled)];
    let rules = Rules {
        window: inner.maybe_seconds("stabilizationWindowSeconds")?,
        select: match inner.maybe::<String>("selectPolicy")? {
            Some(_) => inner.word("selectPolicy", &words)?,
            None => Select::default(),
        },
        policies: inner.maybe_each("policies", policy)?,
        tolerance: inner.maybe("tolerance")?,
    };
    inner.done()?;
    Ok(rules)
}

fn policy(fields: &Fields<'_>) -> Result<Policy, Wrong> {
    Ok(Policy {
        kind: fields.word("type", &[("Pods", PolicyKind::Pods), ("Percent", PolicyKind::Percent)])?,
        value: fields.get("value")?,
        period: fields.seconds("periodSeconds")?,
    })
}

fn limited(why: Limited) -> &'static str {
    match why {
        Limited::ScaleUpLimit => "ScaleUpLimit",
        Limited::TooManyReplicas => "TooManyReplicas",
        Limited::ScaleDownLimit => "ScaleDownLimit",
        Limited::TooFewReplicas => "TooFewReplicas",
        Limited::DesiredWithinRange => "DesiredWithinRange",
    }
}

fn able_to_scale(why: AbleToScale) -> &'static str {
    match why {
        AbleToScale::FailedGetScale => "FailedGetScale",
        AbleToScale::SucceededGetScale => "SucceededGetScale",
        AbleToScale::ReadyForNewScale => "ReadyForNewScale",
        AbleToScale::ScaleUpStabilized => "ScaleUpStabilized",
        AbleToScale::ScaleDownStabilized => "ScaleDownStabilized",
        AbleToScale::SucceededRescale => "SucceededRescale",
    }
}

fn scaling_active(why: ScalingActive) -> &'static str {
    match why {
        ScalingActive::ValidMetricFound => "ValidMetricFound",
        ScalingActive::FailedGetExternalMetric => "FailedGetExternalMetric",
        ScalingActive::ScalingDisabled => "ScalingDisabled",
    }
}
