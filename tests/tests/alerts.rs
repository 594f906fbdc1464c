//! Alerts: who is told what, that nobody is told a secret, and that a load is the same whether they arrive or not.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Bench, Started, wait_until};
use crate::server::Server;

/// Stands in every address and header that is a reference, and must not be seen anywhere else.
const CANARY: &str = "c4n4ry-0f-4n-4ddr355";
/// A value of a row that breaks a rule.
const VALUE: &str = "98765";

/// A bench with two tables, one of which has a row below zero.
fn bench(variables: Vec<(&'static str, String)>) -> Bench {
    let mut all = vec![("NO_PROXY", "127.0.0.1".to_string()), ("CANARY", CANARY.to_string())];
    all.extend(variables);
    let bench = Bench::with(all);
    bench.write("in/orders.csv", format!("id,amount\n1,10\n2,-{VALUE}\n3,7\n"));
    bench.write("in/parts.csv", "id,amount\n1,10\n");
    bench
}

/// A pipeline with these alerts, in which the check of `orders` has this severity and this action.
fn write_pipeline(bench: &Bench, alerts: &str, severity: &str, action: &str) {
    let check = format!("{{ range: {{ column: amount, min: 0, severity: {severity}, action: {action} }} }}");
    let text = format!(
        "version: 1\npipeline: test\nsource: {{ lake: {{ url: in, format: csv }} }}\ntarget: {{ lake: {{ url: out }} }}\n\
         defaults: {{ key: [id], columns: {{ amount: {{ cast: int64 }} }} }}\nalerts:\n{alerts}\
         tables:\n  - from: orders\n    labels: {{ domain: sales }}\n    checks: [ {check} ]\n  \
         - from: parts\n    labels: {{ domain: stock }}\n"
    );
    bench.write("p.yaml", text);
}

/// An alert to a server, with these further settings.
fn webhook(server: &Server, settings: &str) -> String {
    format!("  - to: {{ webhook: {{ url: \"http://{}/hook/${{env:CANARY}}\" }} }}\n{settings}", server.place)
}

/// Alerts of the newest run as the ledger keeps them.
fn recorded(bench: &Bench) -> Value {
    let shown = bench.run(&["show", &bench.newest_run(), "--format", "json"]).expect(0).last_line();
    shown["run"]["alerts"].clone()
}

/// A secret is nowhere in the ledger, nor in these outputs.
#[track_caller]
fn assert_no_secret(bench: &Bench, outputs: &[&str]) {
    for output in outputs {
        assert!(!output.contains(CANARY), "{output}");
    }
    let kept = bench.all_files(".transload");
    assert!(!kept.is_empty());
    for file in kept {
        let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
        assert!(!text.contains(CANARY), "{}: {text}", file.display());
    }
}

/// A body with the run and the times, which differ from run to run, taken out.
fn without_names(mut body: Value) -> Value {
    for field in ["run_id", "started", "ended"] {
        assert!(body[field].as_str().is_some_and(|text| text.len() >= 20), "{body}");
        body[field] = json!("…");
    }
    for table in body["tables"].as_array_mut().unwrap() {
        for finding in table["findings"].as_array_mut().unwrap() {
            assert_eq!(finding["fingerprint"].as_str().unwrap().len(), 16);
            finding["fingerprint"] = json!("…");
        }
    }
    body
}

#[test]
fn a_webhook_is_told_what_stopped_a_load() {
    let server = Server::answering(&[200]);
    let bench = bench(Vec::new());
    let headers = format!(
        "  - to: {{ webhook: {{ url: \"http://{}/hook/${{env:CANARY}}\", headers: {{ X-Token: \"t-${{env:CANARY}}\" }} }} }}\n",
        server.place
    );
    write_pipeline(&bench, &headers, "error", "stop");
    let outcome = bench.run(&["run", "p.yaml", "--show-values", "--log", "trace"]).expect(4);
    outcome.last_line();
    let requests = server.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert_eq!(requests[0].line, format!("POST /hook/{CANARY}"));
    assert_eq!(requests[0].header("content-type"), Some("application/json"));
    assert_eq!(requests[0].header("x-token"), Some(format!("t-{CANARY}").as_str()));
    assert!(!requests[0].body.contains(VALUE), "{requests:?}");
    let expected = json!({
        "version": 1, "pipeline": "test", "run_id": "…", "command": "run", "status": "failed", "exit_code": 4,
        "started": "…", "ended": "…", "reasons": ["error", "failed"],
        "tables": [{
            "table": "orders", "labels": { "domain": "sales" }, "reasons": ["error", "failed"], "verdict": null,
            "differences": 0,
            "error": "Q005 range (amount) failed: 1 of 3 rows breaks it (33.33 %); nothing of the table is published \
                      (table orders)",
            "rows": null,
            "findings": [{
                "code": "Q005", "check": "range", "title": "Q005 range (amount)", "columns": ["amount"], "where": null,
                "fingerprint": "…", "severity": "error", "action": "stop", "threshold": null, "stops": true,
                "expected": "at least 0",
                "found": "1 of 3 rows breaks it (33.33 %)", "evaluated": 3, "failed": 1,
                "remedy": "correct the value in the source, or widen the limits if it is right; \
                           `action: quarantine` would put such rows aside",
            }],
        }],
    });
    assert_eq!(without_names(requests[0].json()), expected);
    let kept = recorded(&bench);
    let fields = ["kind", "to", "delivered", "tries", "error"].map(|field| kept[0][field].clone());
    assert_eq!(fields, [json!("webhook"), json!(server.place), json!(true), json!(1), Value::Null], "{kept}");
    assert_eq!((&kept[0]["reasons"], &kept[0]["tables"]), (&json!(["error", "failed"]), &json!(["orders"])));
    let text = bench.run(&["show", &bench.newest_run(), "--plan"]).expect(0).stdout;
    assert!(text.contains(&format!("alert        webhook {}: delivered, 1 try", server.place)), "{text}");
    let page = bench.run(&["report", &bench.newest_run(), "--output", "-"]).expect(0).stdout;
    assert!(page.contains(&format!("webhook {}: delivered, 1 try", server.place)), "{page}");
    bench.run(&["audit", "verify"]).expect(0);
    assert_no_secret(&bench, &[&outcome.stdout, &outcome.stderr, &text, &page]);
}

#[test]
fn slack_is_told_in_its_own_form() {
    let server = Server::answering(&[200]);
    let bench = bench(Vec::new());
    let alert =
        format!("  - to: {{ slack: {{ url: \"http://{}/${{env:CANARY}}\" }} }}\n    on: [warn]\n", server.place);
    write_pipeline(&bench, &alert, "warn", "quarantine");
    let outcome = bench.run(&["run", "p.yaml"]).expect(0);
    let run = bench.newest_run();
    let expected = json!({
        "text": "test: succeeded (exit code 0): orders",
        "blocks": [
            {
                "type": "section",
                "text": { "type": "mrkdwn", "text": format!("*test*: succeeded (exit code 0)\nrun `{run}`") },
            },
            {
                "type": "section",
                "text": {
                    "type": "mrkdwn",
                    "text": "*orders*: match\n• Q005 range (amount) failed (warn): 1 of 3 rows breaks it (33.33 %)\n   \
                             correct the value in the source, or widen the limits if it is right",
                },
            },
        ],
    });
    assert_eq!(server.requests()[0].json(), expected);
    assert_no_secret(&bench, &[&outcome.stdout, &outcome.stderr]);
}

#[test]
fn each_hears_of_its_own_tables_and_reasons() {
    let [warnings, stock, all, sales] = [(); 4].map(|()| Server::answering(&[200]));
    let bench = bench(Vec::new());
    let alerts = [
        webhook(&warnings, "    on: [warn]\n"),
        webhook(&stock, "    labels: { domain: stock }\n"),
        webhook(&all, "    on: [failed, mismatch]\n"),
        webhook(&sales, "    tables: [\"ord*\"]\n    labels: { domain: sales }\n"),
    ];
    write_pipeline(&bench, &alerts.concat(), "error", "stop");
    bench.run(&["run", "p.yaml"]).expect(4);
    let told = || [&warnings, &stock, &all, &sales].map(|server| server.requests().len());
    assert_eq!(told(), [0, 0, 1, 1]);
    // Now nothing stops the load, and one table of the target is not what it was.
    write_pipeline(&bench, &alerts.concat(), "warn", "quarantine");
    bench.run(&["run", "p.yaml"]).expect(0);
    assert_eq!(told(), [1, 0, 1, 1]);
    bench.write("in/parts.csv", "id,amount\n1,11\n");
    bench.run(&["reconcile", "p.yaml"]).expect(5);
    assert_eq!(told(), [1, 1, 2, 1]);
    let body = stock.requests()[0].json();
    assert_eq!(
        (&body["command"], &body["status"], &body["exit_code"]),
        (&json!("reconcile"), &json!("mismatch"), &json!(5))
    );
    assert_eq!((&body["tables"][0]["verdict"], &body["tables"][0]["differences"]), (&json!("mismatch"), &json!(1)));
    assert_eq!(recorded(&bench).as_array().unwrap().len(), 2);
}

#[test]
fn a_busy_server_is_asked_again_and_one_that_refuses_is_not() {
    let (busy, refuses, moved) = (Server::answering(&[503, 200]), Server::answering(&[403]), Server::answering(&[302]));
    let bench = bench(Vec::new());
    let alerts = [webhook(&busy, ""), webhook(&refuses, ""), webhook(&moved, "")].concat();
    write_pipeline(&bench, &alerts, "error", "stop");
    let outcome = bench.run(&["run", "p.yaml"]).expect(4).says("the server answered 403").says("did not arrive");
    assert_eq!([&busy, &refuses, &moved].map(|server| server.requests().len()), [2, 1, 1]);
    let kept = recorded(&bench);
    let each = |field: &str| [0, 1, 2].map(|at| kept[at][field].clone());
    assert_eq!(each("delivered"), [json!(true), json!(false), json!(false)], "{kept}");
    assert_eq!(each("tries"), [json!(2), json!(1), json!(1)], "{kept}");
    assert!(!kept.to_string().contains("answer\""), "{kept}");
    assert_no_secret(&bench, &[&outcome.stdout, &outcome.stderr]);
}

#[test]
fn a_server_that_asks_for_a_pause_gets_it_and_one_that_asks_for_too_long_is_left_alone() {
    let patient = Server::answering_with(&[429, 200], "Retry-After: 2");
    let endless = Server::answering_with(&[429], "Retry-After: 3600");
    let bench = bench(Vec::new());
    write_pipeline(&bench, &[webhook(&patient, ""), webhook(&endless, "")].concat(), "error", "stop");
    let outcome = bench.run(&["run", "p.yaml"]).expect(4).says("429 Too Many Requests");
    let outcome = outcome.says("wants to be left alone for 3600 s");
    let requests = patient.requests();
    assert_eq!((requests.len(), endless.requests().len()), (2, 1));
    // Without being asked, it would have been tried again after half a second.
    let pause = requests[1].at - requests[0].at;
    assert!(pause >= Duration::from_secs(2) && pause < Duration::from_secs(60), "{pause:?}");
    let kept = recorded(&bench);
    let each = |field: &str| [0, 1].map(|at| kept[at][field].clone());
    assert_eq!((each("delivered"), each("tries")), ([json!(true), json!(false)], [json!(2), json!(1)]), "{kept}");
    assert_no_secret(&bench, &[&outcome.stdout, &outcome.stderr]);
}

#[test]
fn a_server_that_never_answers_is_given_up_and_changes_nothing() {
    // It takes connections and what is sent, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = silent.local_addr().unwrap();
    let bench = bench(Vec::new());
    let alert = format!(
        "  - {{ to: {{ webhook: {{ url: \"http://{place}/${{env:CANARY}}\" }} }}, on: [warn], timeout_secs: 1, tries: 2 }}\n"
    );
    write_pipeline(&bench, &alert, "warn", "quarantine");
    let begun = Instant::now();
    let outcome = bench.run(&["run", "p.yaml"]).expect(0).says("there was no answer in time");
    // Twice a second, and half a one between.
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(2500) && took < Duration::from_secs(120), "{took:?}");
    assert_eq!(outcome.last_line()["status"], "succeeded");
    let kept = recorded(&bench);
    assert_eq!((&kept[0]["delivered"], &kept[0]["tries"]), (&json!(false), &json!(2)), "{kept}");
    assert_eq!(kept[0]["error"], "there was no answer in time", "{kept}");
    // It was there to be spoken to, both times.
    silent.set_nonblocking(true).unwrap();
    assert_eq!(silent.incoming().map_while(Result::ok).count(), 2);
    assert_no_secret(&bench, &[&outcome.stdout, &outcome.stderr]);
}

#[test]
fn a_load_is_the_same_whether_its_alerts_arrive_or_not() {
    // Nobody listens there any more.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let hidden = ("HIDDEN_URL", format!("http://{gone}/{CANARY}"));
    let bench = bench(vec![hidden]);
    let alerts = format!(
        "  - {{ to: {{ webhook: {{ url: \"http://{gone}/${{env:CANARY}}\" }} }}, on: [warn], tries: 2 }}\n  \
         - {{ to: {{ slack: {{ url: \"${{env:HIDDEN_URL}}\" }} }}, on: [warn] }}\n  \
         - {{ to: {{ slack: {{ url: \"${{env:NOT_SET}}\" }} }}, on: [warn] }}\n"
    );
    write_pipeline(&bench, &alerts, "warn", "quarantine");
    let outcome = bench.run(&["run", "p.yaml", "-q"]).expect(0);
    assert_eq!(outcome.last_line()["status"], "succeeded");
    for said in ["the server cannot be reached", "without encryption", "the environment variable NOT_SET is not set"] {
        assert!(outcome.stderr.contains(said), "{said}: {}", outcome.stderr);
    }
    let kept = recorded(&bench);
    assert_eq!([0, 1, 2].map(|at| kept[at]["tries"].clone()), [json!(2), json!(0), json!(0)], "{kept}");
    let runs = bench.run(&["runs", "--format", "json"]).expect(0).last_line();
    assert_eq!(runs["runs"][0]["exit_code"], 0, "{runs}");
    assert_no_secret(&bench, &[&outcome.stdout, &outcome.stderr]);
}

#[test]
fn a_run_that_ends_well_or_does_not_begin_sends_nothing() {
    let server = Server::answering(&[200]);
    let bench = bench(Vec::new());
    write_pipeline(&bench, &webhook(&server, ""), "warn", "quarantine");
    bench.run(&["run", "p.yaml"]).expect(0);
    bench.run(&["run", "p.yaml", "--table", "no-such-table"]).expect(99);
    assert!(server.requests().is_empty(), "{:?}", server.requests());
    assert_eq!(recorded(&bench), json!([]));
}

/// A program in the bench that does this.
fn hook(bench: &Bench, script: &str) {
    let path = bench.write("hook.sh", format!("#!/bin/sh\n{script}\n"));
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_command_reads_the_news_and_gets_only_what_it_asked_for() {
    let bench = bench(vec![("PAGER", "p".to_string()), ("OTHER", "o".to_string())]);
    hook(
        &bench,
        "cat > news.json\nprintf '%s|%s|%s' \"$1\" \"$PAGER\" \"${OTHER-none}\" > seen.txt\necho loud\necho loud >&2",
    );
    let alert = "  - to: { command: { argv: [./hook.sh, \"a b; $(c)\"], env: [PAGER] } }\n    on: [warn]\n";
    write_pipeline(&bench, alert, "warn", "quarantine");
    let outcome = bench.run(&["run", "p.yaml"]).expect(0).says("alert to command ./hook.sh: delivered");
    assert!(!outcome.stdout.contains("loud") && !outcome.stderr.contains("loud"), "{outcome:?}");
    assert_eq!(std::fs::read_to_string(bench.path("seen.txt")).unwrap(), "a b; $(c)|p|none");
    let news: Value = serde_json::from_str(&std::fs::read_to_string(bench.path("news.json")).unwrap()).unwrap();
    assert_eq!((&news["status"], &news["tables"][0]["table"]), (&json!("succeeded"), &json!("orders")));
    assert_eq!(news["tables"][0]["rows"], json!({ "read": 3, "written": 2, "quarantined": 1, "filtered": 0 }));
    assert_eq!(recorded(&bench)[0]["to"], "./hook.sh");
}

#[test]
fn a_command_that_fails_or_hangs_is_cut_and_changes_nothing() {
    let bench = bench(Vec::new());
    hook(&bench, "echo $1 >> tried.txt\n[ \"$1\" = hang ] && exec sleep 600\nexit 3");
    let alerts = "  - { to: { command: { argv: [./hook.sh, fail] } }, tries: 2 }\n  \
                  - { to: { command: { argv: [./hook.sh, hang] } }, timeout_secs: 1 }\n  \
                  - { to: { command: { argv: [./no-such-program] } } }\n";
    write_pipeline(&bench, alerts, "error", "stop");
    let outcome = bench.run(&["run", "p.yaml"]).expect(4);
    for said in ["exit status: 3", "had not ended after 1 s", "the program cannot be started"] {
        assert!(outcome.stderr.contains(said), "{said}: {}", outcome.stderr);
    }
    let kept = recorded(&bench);
    assert_eq!([0, 1, 2].map(|at| kept[at]["tries"].clone()), [json!(2), json!(1), json!(1)], "{kept}");
    let tried = std::fs::read_to_string(bench.path("tried.txt")).unwrap();
    assert_eq!(tried.lines().filter(|line| *line == "fail").count(), 2, "{tried}");
}

#[test]
fn whoever_stops_a_run_is_not_told_of_it_and_alerts_do_not_keep_it() {
    let bench = bench(Vec::new());
    hook(&bench, "touch begun\nexec sleep 600");
    let alert = "  - { to: { command: { argv: [./hook.sh] } }, timeout_secs: 300 }\n";
    write_pipeline(&bench, alert, "error", "stop");
    let started = Started::new(&bench, &["run", "p.yaml"], "");
    wait_until("the alert goes out", || bench.path("begun").exists());
    // The run is over and its lock is free.
    write_pipeline(&bench, "  []\n", "warn", "log");
    bench.run(&["run", "p.yaml"]).expect(0);
    started.signal("INT");
    let ended = started.ended().expect(4);
    assert!(ended.stderr.contains("it was interrupted"), "{}", ended.stderr);
}

#[test]
fn a_resumed_run_sends_alerts_when_it_ends() {
    let server = Server::answering(&[200]);
    let bench = bench(Vec::new());
    write_pipeline(&bench, &webhook(&server, ""), "error", "stop");
    bench.run_with_faults(&["run", "p.yaml"], "unit.journaled=return(kill)").expect(-1);
    assert!(server.requests().is_empty());
    bench.run(&["resume", &bench.newest_run()]).expect(4);
    assert_eq!(server.requests()[0].json()["run_id"], json!(bench.newest_run()));
}

#[test]
fn metrics_are_pushed_to_a_gateway_and_replace_those_before() {
    let gateway = Server::answering(&[503, 202]);
    let bench = bench(vec![("TRANSLOAD_PUSH_METRICS", format!("http://user:{CANARY}@{}/base/", gateway.place))]);
    write_pipeline(&bench, "  []\n", "error", "stop");
    let outcome = bench.run(&["run", "p.yaml", "--metrics", "m.prom"]).expect(4);
    let requests = gateway.requests();
    assert_eq!(requests.len(), 2, "{requests:?}");
    assert_eq!(requests[1].line, "PUT /base/metrics/job/transload/pipeline/test");
    assert!(requests[1].header("authorization").unwrap().starts_with("Basic "));
    assert_eq!(requests[1].body, std::fs::read_to_string(bench.path("m.prom")).unwrap());
    assert!(
        requests[1].body.contains("transload_check_duration_seconds{pipeline=\"test\",table=\"orders\",code=\"Q005\"")
    );
    let help = bench.run(&["run", "--help"]).expect(0).stdout;
    assert_no_secret(&bench, &[&outcome.stdout, &outcome.stderr, &help]);
}

#[test]
fn metrics_of_a_replay_are_pushed_beside_those_of_the_load() {
    let gateway = Server::answering(&[200]);
    let bench = bench(vec![("TRANSLOAD_PUSH_METRICS", format!("http://{}", gateway.place))]);
    write_pipeline(&bench, "  []\n", "warn", "quarantine");
    bench.run(&["run", "p.yaml"]).expect(0);
    bench.write("patch.csv", "_split,_position,amount\n0,1,5\n");
    bench.run(&["replay", &bench.newest_run(), "--patch", "patch.csv"]).expect(0);
    let lines: Vec<String> = gateway.requests().into_iter().map(|request| request.line).collect();
    let group = "PUT /metrics/job/transload/pipeline/test";
    assert_eq!(lines, [group.to_string(), format!("{group}/kind/replay")]);
    let bodies: Vec<String> = gateway.requests().into_iter().map(|request| request.body).collect();
    assert!(!bodies[0].contains("kind=") && bodies[1].contains("{pipeline=\"test\",kind=\"replay\"}"), "{bodies:?}");
}

#[test]
fn a_replay_that_is_stopped_is_told_as_such() {
    let server = Server::answering(&[200]);
    let bench = bench(Vec::new());
    write_pipeline(&bench, &webhook(&server, ""), "warn", "quarantine");
    bench.run(&["run", "p.yaml"]).expect(0);
    let run = bench.newest_run();
    assert!(server.requests().is_empty(), "{:?}", server.requests());
    // The target has this key already.
    bench.write("patch.csv", "_split,_position,id,amount\n0,1,3,5\n");
    bench.run(&["replay", &run, "--patch", "patch.csv"]).expect(4);
    let news = server.requests()[0].json();
    assert_eq!((&news["command"], &news["exit_code"]), (&json!("replay"), &json!(4)));
    assert_eq!((&news["run_id"], &news["reasons"]), (&json!(bench.newest_run()), &json!(["error", "failed"])));
    let finding = &news["tables"][0]["findings"][0];
    assert_eq!((&finding["title"], &finding["stops"]), (&json!("Q003 unique (id)"), &json!(true)), "{news}");
    assert_eq!(recorded(&bench)[0]["delivered"], true);
    // What passes is no news.
    bench.write("patch.csv", "_split,_position,amount\n0,1,5\n");
    bench.run(&["replay", &run, "--patch", "patch.csv"]).expect(0);
    assert_eq!(server.requests().len(), 1, "{:?}", server.requests());
}

#[test]
fn a_gateway_that_refuses_changes_nothing_and_one_that_is_none_is_refused_before_the_load() {
    let gateway = Server::answering(&[400]);
    let bench = bench(Vec::new());
    write_pipeline(&bench, "  []\n", "warn", "log");
    let url = format!("http://{}/{CANARY}", gateway.place);
    let outcome = bench.run(&["run", "p.yaml", "--push-metrics", &url]).expect(0);
    for said in ["the metrics were not pushed", &gateway.place, "the server answered 400"] {
        assert!(outcome.stderr.contains(said), "{said}: {}", outcome.stderr);
    }
    assert_no_secret(&bench, &[&outcome.stdout, &outcome.stderr]);
    let runs = bench.run(&["runs", "--format", "json"]).expect(0).last_line()["runs"].as_array().unwrap().len();
    let refused =
        bench.run(&["run", "p.yaml", "--push-metrics", CANARY]).expect(2).says("cannot be pushed to such a place");
    assert_no_secret(&bench, &[&refused.stdout, &refused.stderr]);
    let after = bench.run(&["runs", "--format", "json"]).expect(0).last_line()["runs"].as_array().unwrap().len();
    assert_eq!(runs, after);
}
