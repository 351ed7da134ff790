use super::*;
use crate::io::Peer;
use crate::io::lines::Output;
use http_body_util::BodyExt as _;
use prometheus::IntCounter;
use proptest::prelude::*;

fn fates() -> Fates {
    let counter = |name: &str| IntCounter::new(name, name).unwrap();
    Fates { written: counter("written"), dropped: counter("dropped") }
}

fn hop() -> Hop<'static> {
    Hop { is_tls: true, ..Peer::at(([192, 0, 2, 7], 1234).into()).into() }
}

/// The lines that these settings write for what is done with a log.
async fn written(settings: Settings, act: impl AsyncFnOnce(&AccessLog, &Config)) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let mut config = Config::new(Vec::new());
    config.access_log = Settings { output: Some(Output::File(path.clone())), ..settings };
    let log = AccessLog::new(fates());
    log.open(&config.access_log).unwrap();
    act(&log, &config).await;
    log.lines.flush(Duration::from_secs(60)).await;
    std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn begin<B>(log: &AccessLog, config: &Config, request: &mut Request<B>) -> Option<Arc<Record>> {
    log.begin(config, &Clock::starting_at(Time(1_700_000_000_123)), request, &hop())
}

fn request(target: &str, fields: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::get(target).body(()).unwrap();
    for (name, value) in fields {
        request.headers_mut().append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    request
}

const TALKATIVE: [(&str, &str); 4] = [
    ("cookie", "slotkeeper=SECRET"),
    ("authorization", "Bearer SECRET"),
    ("referer", "https://app.example/from?token=SECRET#SECRET"),
    ("user-agent", "quote\" and \\ end"),
];

async fn one(settings: Settings) -> String {
    let lines = written(settings, async |log, config| {
        let mut request = request("/play/a%20b?token=SECRET", &TALKATIVE);
        let record = begin(log, config, &mut request);
        let carried = Record::of(&request).unwrap();
        carried.pool(&"games".into());
        carried.pod(Ordinal(3));
        carried.session("0123abcd");
        carried.outcome(Outcome::Forwarded);
        drop(request);
        drop(carried);
        let response = follow(record, Response::new(ResponseBody::Whole(Bytes::from_static(b"hello"))));
        response.into_body().collect().await.unwrap();
    })
    .await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.into_iter().next().unwrap()
}

#[tokio::test]
async fn a_line_has_the_facts_of_a_request_and_no_secret() {
    let line = one(Settings::default()).await;
    let read: serde_json::Value = serde_json::from_str(&line).unwrap();
    let seconds = read["seconds"].as_f64().unwrap();
    assert!(seconds >= 0.0);
    let mut rest = read.clone();
    rest["seconds"] = 0.into();
    assert_eq!(
        rest,
        serde_json::json!({
            "time": "2023-11-14T22:13:20.123Z", "address": "192.0.2.7", "session": "0123abcd", "pool": "games", "pod": 3,
            "method": "GET", "path": "/play/a%20b", "protocol": "HTTP/1.1", "tls": true, "status": 200,
            "outcome": "forwarded", "bytes_sent": 5, "bytes_received": 0, "seconds": 0, "fault": null, "step": null,
            "reason": null,
        })
    );
    let combined = Settings { format: AccessFormat::Combined, ..Settings::default() };
    assert_eq!(
        one(combined.clone()).await,
        r#"192.0.2.7 - 0123abcd [14/Nov/2023:22:13:20 +0000] "GET /play/a%20b HTTP/1.1" 200 5 "https://app.example/from" "quote\x22 and \x5C end""#
    );
    let with_query = one(Settings { query: true, ..combined }).await;
    assert!(with_query.contains("GET /play/a%20b?token=SECRET HTTP") && with_query.contains("from?token=SECRET#"));
    assert!(!with_query.contains("Bearer") && !with_query.contains("slotkeeper="));
}

#[tokio::test]
async fn a_failure_has_its_reason_and_a_client_that_leaves_has_status_499() {
    let lines = written(Settings { sample: 1000, ..Settings::default() }, async |log, config| {
        let ask = || begin(log, config, &mut request("/", &[]));
        // The first of a thousand, which is sampled; all others are logged only because they have failed.
        drop(follow(ask(), Response::new(ResponseBody::Empty)));
        drop(follow(ask(), Response::new(ResponseBody::Empty)));
        let broken = ask();
        broken.as_ref().unwrap().failed(&RequestError::pod(
            crate::front::error::Step::Dial,
            "the pod cannot be reached",
            "refused",
        ));
        drop(follow(broken, Response::new(ResponseBody::Empty)));
        drop(follow(ask(), Response::new(ResponseBody::Whole(Bytes::from_static(b"not read")))));
        drop(ask());
    })
    .await;
    let read: Vec<serde_json::Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let facts: Vec<_> = read
        .iter()
        .map(|line| (line["status"].as_u64().unwrap(), line["fault"].as_str(), line["reason"].as_str()))
        .collect();
    assert_eq!(
        facts,
        [
            (200, None, None),
            (200, Some("pod"), Some("the pod cannot be reached")),
            (200, None, Some("client_closed")),
            (499, None, Some("client_closed")),
        ]
    );
}

#[tokio::test]
async fn without_an_output_nothing_is_recorded() {
    let log = AccessLog::new(fates());
    let mut request = request("/", &[]);
    assert!(begin(&log, &Config::new(Vec::new()), &mut request).is_none());
    assert!(Record::of(&request).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn text_of_a_client_stays_in_its_field(path in "/[!-~\u{80}-\u{2030}]{0,40}", agent: Vec<u8>) {
        let path: String = path.chars().filter(|c| !"?#".contains(*c)).collect();
        let Ok(agent) = http::HeaderValue::from_bytes(&agent) else { return Ok(()) };
        let Ok(uri) = http::Uri::try_from(path.as_str()) else { return Ok(()) };
        let settings = Settings { format: AccessFormat::Combined, ..Settings::default() };
        let mut request = Request::get(uri).body(()).unwrap();
        request.headers_mut().insert(header::USER_AGENT, agent);
        let record = Record {
            lines: Arc::new(Lines::new(fates())),
            format: settings.format,
            sampled: false,
            time: Time(0),
            began: now(),
            asked: Asked::of(&request, &hop(), &settings),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            result: Mutex::default(),
        };
        let line = format::line(&record, &Result { status: Some(StatusCode::OK), ..Result::default() }, Duration::ZERO);
        prop_assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line}");
        prop_assert_eq!(line.matches('"').count(), 6, "{}", line);
        prop_assert_eq!(line.split('"').nth(1).unwrap().matches(' ').count(), 2, "{}", line);
    }
}
