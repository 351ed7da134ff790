//! The messages between KEDA and an external scaler: `externalscaler.proto` in Rust, written by hand, so that the build
//! needs no protobuf compiler.

use std::collections::BTreeMap;

/// The caller: one trigger of a ScaledObject, with its metadata.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ScaledObjectRef {
    /// The ScaledObject's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its namespace.
    #[prost(string, tag = "2")]
    pub namespace: String,
    /// The trigger's `metadata` of the ScaledObject.
    #[prost(btree_map = "string, string", tag = "3")]
    pub scaler_metadata: BTreeMap<String, String>,
}

/// The answer to `IsActive`, and each message of `StreamIsActive`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct IsActiveResponse {
    /// Whether at least one pod is wanted.
    #[prost(bool, tag = "1")]
    pub result: bool,
}

/// The answer to `GetMetricSpec`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GetMetricSpecResponse {
    /// Exactly one: a trigger has one metric.
    #[prost(message, repeated, tag = "1")]
    pub metric_specs: Vec<MetricSpec>,
}

/// A metric and its target, from which KEDA configures the autoscaler.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MetricSpec {
    /// The name by which the autoscaler asks for it.
    #[prost(string, tag = "1")]
    pub metric_name: String,
    /// For KEDA up to 2.16.
    #[prost(int64, tag = "2")]
    pub target_size: i64,
    /// The value per pod. 1: the metric is the number of pods.
    #[prost(double, tag = "3")]
    pub target_size_float: f64,
}

/// A question for the current value.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GetMetricsRequest {
    /// The caller; always present.
    #[prost(message, optional, tag = "1")]
    pub scaled_object_ref: Option<ScaledObjectRef>,
    /// As in the spec.
    #[prost(string, tag = "2")]
    pub metric_name: String,
}

/// The answer to `GetMetrics`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GetMetricsResponse {
    /// Exactly one.
    #[prost(message, repeated, tag = "1")]
    pub metric_values: Vec<MetricValue>,
}

/// The value of a metric.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MetricValue {
    /// As in the request.
    #[prost(string, tag = "1")]
    pub metric_name: String,
    /// For KEDA up to 2.16.
    #[prost(int64, tag = "2")]
    pub metric_value: i64,
    /// The number of pods.
    #[prost(double, tag = "3")]
    pub metric_value_float: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    fn pool() -> ScaledObjectRef {
        let scaler_metadata = [("pool".to_owned(), "chat".to_owned())].into();
        ScaledObjectRef { name: "so".into(), namespace: "ns".into(), scaler_metadata }
    }

    /// A field's key is `number << 3 | type`; 0 is a varint, 1 has 8 bytes, 2 has a length before it
    /// (protobuf.dev/programming-guides/encoding).
    #[test]
    fn messages_are_encoded_as_the_protocol_requires() {
        let asked = b"\x0a\x02so\x12\x02ns\x1a\x0c\x0a\x04pool\x12\x04chat";
        assert_eq!(pool().encode_to_vec(), asked);
        assert_eq!(ScaledObjectRef::decode(&asked[..]).unwrap(), pool());

        assert_eq!(IsActiveResponse { result: true }.encode_to_vec(), b"\x08\x01");
        assert_eq!(IsActiveResponse { result: false }.encode_to_vec(), b"");

        let one = b"\x3f\xf0\x00\x00\x00\x00\x00\x00".iter().rev();
        let spec = MetricSpec { metric_name: "m".into(), target_size: 1, target_size_float: 1.0 };
        let mut bytes = b"\x0a\x0e\x0a\x01m\x10\x01\x19".to_vec();
        bytes.extend(one.clone());
        assert_eq!(GetMetricSpecResponse { metric_specs: vec![spec] }.encode_to_vec(), bytes);

        let mut asks = vec![0x0a, asked.len() as u8];
        asks.extend(asked);
        asks.extend(b"\x12\x01m");
        let request = GetMetricsRequest { scaled_object_ref: Some(pool()), metric_name: "m".into() };
        assert_eq!(request.encode_to_vec(), asks);

        let value = MetricValue { metric_name: "m".into(), metric_value: 1, metric_value_float: 1.0 };
        assert_eq!(GetMetricsResponse { metric_values: vec![value] }.encode_to_vec(), bytes);
        let nothing = MetricValue { metric_name: "m".into(), metric_value: 0, metric_value_float: 0.0 };
        assert_eq!(nothing.encode_to_vec(), b"\x0a\x01m");
    }

    #[test]
    fn field_numbers_match_the_proto_file() {
        let text = include_str!("externalscaler.proto");
        let numbers = |message: &str| -> Vec<u32> {
            let body = text.split(&format!("message {message} {{")).nth(1).unwrap().split('}').next().unwrap();
            let fields = body.lines().filter_map(|line| line.split(" = ").nth(1)?.split(';').next());
            fields.map(|number| number.parse().unwrap()).collect()
        };
        for (message, fields) in [
            ("ScaledObjectRef", 3),
            ("IsActiveResponse", 1),
            ("GetMetricSpecResponse", 1),
            ("MetricSpec", 3),
            ("GetMetricsRequest", 2),
            ("GetMetricsResponse", 1),
            ("MetricValue", 3),
        ] {
            assert_eq!(numbers(message), (1..=fields).collect::<Vec<_>>(), "{message}");
        }
    }
}
