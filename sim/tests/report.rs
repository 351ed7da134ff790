//! The report: pages must be well-formed, complete and correct. The pages of these tests are written to the target
//! folder for inspection.

pub(crate) mod markup;
mod samples;

use markup::Document;
use samples::{day, drawn, massacre, node_lost, queue, scale_down_that_kills, shared, three_designs};
use slotkeeper_sim::planner::report;
use slotkeeper_sim::record::{Figures, Mark, MarkKind, PodEnd, PodLife, Record, Sample, SessionLife, Spell};

const HOSTILE: &str = r#"<script>alert("1")</script> & 'quoted' ]]> &amp; <!-- "#;

/// Parses the page, and writes it to a file for inspection.
fn page(name: &str, records: &[Record]) -> Document {
    parsed(name, &report::html(records))
}

fn parsed(name: &str, page: &str) -> Document {
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("report-{name}.html"));
    std::fs::write(file, page).expect("the target folder can be written to");
    Document::parse(page).unwrap_or_else(|problem| panic!("{name}: {problem}"))
}

fn mark(at: u64, kind: MarkKind, text: &str) -> Mark {
    Mark { at, until: None, kind, text: text.to_owned() }
}

#[test]
fn every_page_is_well_formed_and_complete_in_itself() {
    let mut unequal = three_designs();
    unequal[1].length /= 2;
    unequal[1].samples.retain(|s| s.at < 1_800_000);
    (unequal[1].pods, unequal[1].sessions) = (Vec::new(), Vec::new());
    let pages = [
        ("kill", vec![scale_down_that_kills()]),
        ("node-lost", vec![node_lost()]),
        ("queue", vec![queue()]),
        ("designs", three_designs()),
        ("unequal", unequal),
        ("day", vec![day()]),
        ("shared", vec![shared()]),
        ("massacre", vec![massacre()]),
    ];
    for (name, records) in pages {
        let page = page(name, &records);
        assert_eq!(page.count("h1"), 1, "{name}");
        assert_eq!(page.count("section"), records.len(), "{name}");
        assert_eq!(page.count("figure"), records.len(), "{name}");
        assert_eq!(page.count("script") + page.count("img") + page.count("link"), 0, "{name}");
        for table in page.all("table") {
            assert!(table.contains("scope=\"row\""), "{name}: a table without headers of rows");
        }
        for record in &records {
            assert!(page.text.contains(&record.title), "{name}");
            assert!(page.text.contains(&record.story), "{name}");
        }
        // Nothing is fetched: not even the namespace of SVG needs an address in HTML.
        for fetching in ["http:", "https:", "//", "@import", "src=", "url(h"] {
            assert!(!page.source.contains(fetching), "{name} fetches: {fetching}");
        }
    }
}

#[test]
fn pages_that_are_not_well_formed_are_detected() {
    let good = "<!doctype html><p id=\"a\" class=\"b\">x &amp; <br/><a href=\"#a\">y</a></p>";
    assert_eq!(Document::parse(good).map(|d| d.text).as_deref(), Ok("x & y"));
    for bad in [
        "<p>",
        "</p>",
        "<p><b></p></b>",
        "<p>a & b</p>",
        "<p>a < b</p>",
        "<p a=b></p>",
        "<p a=\"<\"></p>",
        "<p id=\"x\"></p><p id=\"x\"></p>",
        "<a href=\"#nowhere\"></a>",
        "<rect fill=\"url(#nowhere)\"/>",
    ] {
        assert!(Document::parse(bad).is_err(), "{bad}");
    }
}

/// Plans a pool with this name, with three settings and four seeds.
fn plan(pool: &str, seeds: u32) -> slotkeeper_sim::planner::plan::Plan {
    use slotkeeper_sim::chance::Draw;
    let text = format!("[pools.{pool}]\nmax_pods = 9\n[pools.{pool}.processes]\ncommand = ['x']\ndata_folder = 'y'\n");
    let config = slotkeeper::config::parse(&text, "test.toml", std::path::Path::new("/")).expect("a configuration");
    let arrivals = "60/day:evening".parse().expect("these are arrivals");
    let options = slotkeeper_sim::planner::plan::Options::new(
        slotkeeper_sim::configured::pools(&config),
        arrivals,
        Draw::Always(900_000),
        Draw::Always(40_000),
    );
    let options = slotkeeper_sim::planner::plan::Options { seeds: Some(seeds), variants: Some(2), ..options };
    slotkeeper_sim::planner::plan::run(&options).expect("there is a plan")
}

#[test]
fn a_plan_is_a_page_with_the_pools_name_and_its_neighbours() {
    let plan = plan("remote-desktops", 4);
    let page = parsed("plan", &report::plan::html(&plan));
    assert!(page.source.contains("<h1>Pool remote-desktops</h1>"), "{}", page.source);
    assert!(page.source.contains("<title>Pool remote-desktops: a plan</title>"));
    assert_eq!((page.count("h1"), page.count("section"), page.count("figure")), (1, 1, 1));
    assert_eq!(page.count("script") + page.count("img") + page.count("link"), 0);
    let table = page.all("table").into_iter().find(|t| t.contains("comparison plan")).expect("the neighbours");
    assert_eq!(table.matches("scope=\"row\"").count(), plan.rows.len());
    assert_eq!(table.matches("<td>").count(), 9 * plan.rows.len());
    // An interval below each figure, the same as in the terminal.
    assert_eq!(table.matches("class=\"quiet range\"").count(), 9 * plan.rows.len());
    let mut text = Vec::new();
    slotkeeper_sim::planner::plan::table(&mut text, &plan).expect("memory takes everything");
    let text = String::from_utf8(text).expect("text");
    for row in &plan.rows {
        assert!(page.text.contains(&row.name) && text.contains(&row.name), "{}", row.name);
    }
    for line in text.lines().rev().take_while(|l| !l.is_empty()) {
        assert!(page.text.contains(line), "{line}\n{}", page.text);
    }
    let single = parsed("plan-one-seed", &report::plan::html(&self::plan("a", 1)));
    assert!(!single.source.contains("class=\"quiet range\"") && single.text.contains("--seeds N"));
}

#[test]
fn foreign_text_is_escaped() {
    let mut record = scale_down_that_kills();
    record.title = HOSTILE.to_owned();
    record.story = HOSTILE.to_owned();
    record.marks = vec![mark(1000, MarkKind::Fault, HOSTILE)];
    record.sessions[0].why = Some(HOSTILE.to_owned());
    record.pods[0].uid = HOSTILE.to_owned();
    let single = page("hostile-single", std::slice::from_ref(&record));
    assert_eq!(single.count("script"), 0);
    assert_eq!(single.text.matches(HOSTILE.trim()).count(), 1 + 3 + 4, "the name of the page, and what is in it");
    let page = page("hostile", &[record.clone(), record]);
    assert_eq!(page.count("script"), 0);
    // For each record: the row of the comparison, heading, story, mark, and in picture and table the uid and the
    // reason.
    assert_eq!(page.text.matches(HOSTILE.trim()).count(), 2 * (4 + 4));
}

#[test]
fn characters_not_allowed_in_a_page_are_replaced() {
    let record = Record { title: "a\u{0}b\u{1b}[31mc\u{ffff}".to_owned(), ..Record::default() };
    let page = page("control", std::slice::from_ref(&record));
    assert!(page.text.contains("a\u{fffd}b\u{fffd}[31mc\u{fffd}"));
    let mut out = Vec::new();
    report::table(&[record], &mut out).unwrap();
    assert!(!out.contains(&0x1b) && !out.contains(&0));
}

#[test]
fn every_kill_fault_and_broken_promise_is_listed_as_text() {
    let record = massacre();
    assert!(record.figures.killed > 50, "the sample is to hold many");
    let page = page("words", std::slice::from_ref(&record));
    for mark in &record.marks {
        assert!(page.text.contains(&mark.text), "{}", mark.text);
    }
    let lost = node_lost();
    let page = self::page("words", std::slice::from_ref(&lost));
    for (kind, text) in [
        ("Fault:", "node lost with the pods 1 to 3"),
        ("Broken promise:", "visitor 3 waited 140 s"),
        ("Note:", "template rolled out"),
    ] {
        assert!(page.text.contains(&format!("{kind} {text}")), "{text}");
    }
    assert!(page.source.contains("aria-label=\"Timeline of 25 min."), "the description of the picture");
    assert!(page.source.contains("2 faults, 0 kills, 1 broken promise."));
}

#[test]
fn killed_is_red_only_where_a_session_was_killed() {
    let designs = three_designs();
    assert!(designs[0].figures.killed > 0 && designs[1].figures.killed == 0 && designs[2].figures.killed == 0);
    let page = page("red", &designs);
    let red: Vec<&str> = page.all("strong").into_iter().filter(|s| s.contains("class=\"bad\"")).collect();
    assert_eq!(red.len(), 2, "in the comparison and in the figures of the first: {red:?}");
    assert!(red.iter().all(|r| r.contains(&format!("{} killed", designs[0].figures.killed))));
}

#[test]
fn a_killed_session_has_a_cross_in_its_lane() {
    let page = page("cross", &[scale_down_that_kills()]);
    let crosses = page.all("use").len() - 1;
    assert_eq!(crosses, 2, "one for each, in addition to that of the key");
    assert!(page.text.contains("visitor 3 in pod 2, 1 min 39 s to 5 min 37 s: killed by a scale-down"));
    assert!(page.text.contains("pod 2 (uid-2): created 1 min 19 s"), "{}", page.text);
}

#[test]
fn a_pod_that_ended_without_a_deletion_has_a_hard_end() {
    let page = page("broke", &[node_lost()]);
    assert_eq!(page.all("line").iter().filter(|l| l.contains("class=\"broke\"")).count(), 3 + 1, "and in the key");
    assert!(page.text.contains("pod crashed or lost"));
    assert!(!self::page("kill", &[scale_down_that_kills()]).text.contains("pod crashed or lost"));
}

#[test]
fn designs_are_drawn_on_the_same_scales() {
    let mut small = queue();
    small.samples.iter_mut().for_each(|s| *s = Sample { at: s.at / 10, waiting: s.waiting.min(1), ..*s });
    small.length /= 10;
    (small.pods, small.sessions) = (Vec::new(), Vec::new());
    let both = page("scales", &[queue(), small]);
    let ticks = |figure: &str| figure.matches("class=\"tick").count();
    let figures = both.all("figure");
    // The second has no lanes, so it has one time axis where the first has two.
    assert_eq!(ticks(figures[0]), 2 * ticks(figures[1]));
    assert!(figures[1].contains("60 min"), "the time of the longer one");
    assert!(figures[1].contains(">10</text>"), "the queue of the longer one");
    assert!(figures[1].contains("class=\"after\"") && !figures[0].contains("class=\"after\""));
}

#[test]
fn a_step_is_drawn_at_its_time() {
    let sample = |at, desired| Sample { at, desired, ..Sample::default() };
    let record =
        Record { length: 1000, samples: vec![sample(0, 1), sample(250, 2), sample(500, 0)], ..Record::default() };
    let page = page("steps", &[record]);
    // 190 pixels for two pods: in tenths, 950 up at once, 950 more after a quarter, all down after half, then level
    // to the end.
    assert!(page.source.contains("<path class=\"desired\" d=\"M-50 1900v-950h2550v-950h2500v1900h5050\"/>"));
}

#[test]
fn many_samples_keep_every_peak_in_a_small_file() {
    let mut draw = drawn(9);
    let mut samples: Vec<Sample> = (0..10_000)
        .map(|n| {
            let ready = 400 + draw(200) as u32;
            Sample {
                at: n * 8640,
                desired: 600,
                replicas: 600,
                pods: 600,
                ready,
                seated: ready,
                waiting: draw(50) as u32,
            }
        })
        .collect();
    // Twelve samples are a column; this one is in the middle of a column.
    samples[4998].waiting = 1000;
    samples[4998].ready = 0;
    let record = Record { length: 86_400_000, samples, ..Record::default() };
    let page = page("many", &[record]);
    assert!(page.source.len() < 200_000, "{}", page.source.len());
    assert!(page.text.contains("10 000 samples drawn in at most 834 columns"));
    // The one peak reaches the top of its chart, the one dip reaches zero (where every line begins and ends).
    let path = |class| page.all("path").into_iter().find(|p| p.contains(class)).unwrap();
    assert_eq!(heights(path("class=\"waiting\"")).into_iter().min(), Some(0));
    assert_eq!(heights(path("class=\"ready\"")).into_iter().filter(|y| *y == 1900).count(), 3);
}

/// Returns the heights of a path of relative steps, in tenths of pixels from the top.
fn heights(path: &str) -> Vec<i64> {
    let drawn = path.split(" d=\"").nth(1).and_then(|d| d.split('"').next()).expect("a path has a d");
    let begin = drawn.find(['h', 'v']).expect("a path has steps");
    let (start, steps) = drawn.split_at(begin);
    let number = |text: &str| text.parse::<i64>().expect("a number");
    let mut heights = vec![number(start.split(' ').nth(1).expect("M x y"))];
    let signs = steps.chars().filter(|c| matches!(c, 'h' | 'v'));
    for (sign, step) in signs.zip(steps[1..].split(['h', 'v'])) {
        if sign == 'v' {
            heights.extend(heights.last().map(|y| y + number(step)));
        }
    }
    heights
}

#[test]
fn a_day_with_thousands_of_sessions_is_a_small_file_and_lists_what_it_omits() {
    let record = day();
    let page = page("day", std::slice::from_ref(&record));
    assert!(page.source.len() < 200_000, "{}", page.source.len());
    assert!(page.text.contains("2600 sessions are too many to be drawn one by one: a row of the map is 4 pods"));
    let left = record.sessions.len() - 150;
    assert!(page.text.contains(&format!("{left} more: in the JSON, not here.")));
}

#[test]
fn few_pods_that_are_recycled_all_the_time_are_a_map_too() {
    let pod = |n: u32| PodLife {
        ordinal: n % 8,
        uid: format!("uid-{n}"),
        created: u64::from(n) * 1000,
        ready: None,
        terminating: None,
        gone: Some(u64::from(n) * 1000 + 8000),
        end: Some(PodEnd::Recycled),
    };
    let record = Record { length: 3_000_000, pods: (0..3000).map(pod).collect(), ..Record::default() };
    let page = page("recycled", &[record]);
    assert!(page.source.len() < 100_000, "{}", page.source.len());
    for ordinal in 0..8 {
        assert!(page.source.contains(&format!(">pod {ordinal}</text>")), "{ordinal}");
    }
}

#[test]
fn the_map_is_dark_where_slots_were_taken() {
    // 100 ordinals, two in a row; only 98 and 99 are taken, one of them all the time, the other in its second half.
    let life = |ordinal| PodLife {
        ordinal,
        uid: String::new(),
        created: 0,
        ready: Some(0),
        terminating: None,
        gone: None,
        end: None,
    };
    let session = |ordinal, from| SessionLife {
        visitor: ordinal,
        joined: from,
        spells: vec![Spell { ordinal, uid: String::new(), from, to: None }],
        end: None,
        why: None,
        killed: false,
    };
    let mut blink = session(99, 700);
    blink.spells[0].to = Some(700);
    let record = Record {
        length: 1000,
        pods: (0..100).map(life).collect(),
        // A session too short to be visible must not affect the shades of the others.
        sessions: vec![session(98, 0), session(99, 500), blink],
        ..Record::default()
    };
    let page = page("map", &[record]);
    let path = |class: &str, d: &str| format!("<path class=\"{class}\" d=\"{d}\"/>");
    assert!(page.source.contains(&path("taken q2", "M0 49h125v1h-125z")), "half of the row in the first half");
    assert!(page.source.contains(&path("taken q4", "M125 49h125v1h-125z")), "all of it in the second");
    assert!(page.source.contains("<path class=\"exists any\" d=\"M0 0h250v1h-250zM0 1h250"));
}

#[test]
fn a_day_without_individual_pods_and_sessions_is_drawn_in_numbers() {
    let record = Record { pods: Vec::new(), sessions: Vec::new(), ..day() };
    let page = page("numbers", &[record]);
    assert!(page.text.contains("only their numbers are drawn"));
    assert!(page.text.contains("Pods, and sessions seated in them"));
}

#[test]
fn an_empty_report_is_still_a_page() {
    let none = page("none", &[]);
    assert!(none.text.contains("Nothing was recorded"));
    let empty = page("empty", &[Record::default()]);
    for said in ["A run without a title", "Nothing was recorded that could be drawn.", "no slot taken"] {
        assert!(empty.text.contains(said), "{said}");
    }
    let two = page("two-empty", &[Record::default(), Record::default()]);
    assert!(two.text.contains("2 designs compared"));
}

#[test]
fn extreme_values_are_drawn_without_harm() {
    let one =
        |at| Sample { at, desired: u32::MAX, replicas: u32::MAX, pods: u32::MAX, ready: 1, seated: 1, waiting: 1 };
    let pod = |ordinal, created, gone| PodLife {
        ordinal,
        uid: String::new(),
        created,
        ready: Some(0),
        terminating: Some(u64::MAX),
        gone,
        end: Some(PodEnd::Crashed),
    };
    let spell = |from, to| Spell { ordinal: u32::MAX, uid: String::new(), from, to };
    let session = |spells| SessionLife { visitor: u32::MAX, joined: 0, spells, end: None, why: None, killed: true };
    let extreme = Record {
        samples: vec![one(5), one(0), one(u64::MAX)],
        pods: vec![pod(0, 10, Some(0)), pod(u32::MAX, 0, None), pod(u32::MAX, u64::MAX, None)],
        sessions: vec![session(vec![spell(9, Some(3)), spell(u64::MAX, None)]), session(Vec::new())],
        marks: vec![Mark { until: Some(0), ..mark(u64::MAX, MarkKind::Violation, "") }],
        figures: Figures {
            pod_hours: f64::NAN,
            wasted_pod_hours: f64::INFINITY,
            killed: u64::MAX,
            ..Figures::default()
        },
        ..Record::default()
    };
    let single = Record { samples: vec![one(0)], ..Record::default() };
    let late = Record { samples: vec![one(100_000)], length: 10, ..Record::default() };
    // 3000 ordinals, each recycled all the time, with every session killed.
    let fleet = Record {
        length: 3_000_000,
        pods: (0..30_000).map(|n| pod(n % 3000, u64::from(n) * 100, Some(u64::from(n) * 100 + 50))).collect(),
        sessions: (0..30_000)
            .map(|n| {
                session(vec![Spell { ordinal: n % 3000, ..spell(u64::from(n) * 100, Some(u64::from(n) * 100 + 9)) }])
            })
            .collect(),
        marks: (0..30_000).map(|n| mark(n * 100, MarkKind::Kill, "killed")).collect(),
        ..Record::default()
    };
    for (name, record) in [("extreme", extreme), ("single", single), ("late", late), ("fleet", fleet)] {
        let page = page(name, &[record]);
        assert!(page.source.len() < 1_000_000, "{name}: {}", page.source.len());
    }
}

#[test]
fn the_same_records_yield_the_same_page() {
    let records = [day(), massacre()];
    assert_eq!(report::html(&records), report::html(&records.clone()));
    assert_eq!(report::json(&records), report::json(&records.clone()));
}

#[test]
fn the_table_is_aligned() {
    let mut designs = three_designs();
    designs[1].figures.time_to_slot = None;
    let mut out = Vec::new();
    report::table(&designs, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4);
    assert!(lines.iter().all(|l| l.chars().count() == lines[0].chars().count() && !l.ends_with(' ')), "{text}");
    let column = lines[0].find("killed").unwrap() + "killed".len();
    let killed: Vec<&str> = lines[1..].iter().map(|l| l[..column].rsplit(' ').next().unwrap()).collect();
    assert_eq!(killed, ["8", "0", "0"], "{text}");
    assert!(lines[2].contains("  -  "), "{text}");
}

#[test]
fn the_json_is_the_record() {
    let json: serde_json::Value = serde_json::from_str(&report::json(&[node_lost()])).unwrap();
    assert_eq!(json[0]["figures"]["visitors"], 7);
    assert_eq!(json[0]["marks"][0]["kind"], "fault");
    assert_eq!(json[0]["pods"][1]["end"], "node_lost");
}
