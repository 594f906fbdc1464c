//! What a connection says about its store, and what servers answer.

use std::time::{Duration, Instant};

use crate::azure::{self, Container};
use crate::harness::{Bench, Outcome};
use crate::place::Place;
use crate::s3::{self, Bucket};
use crate::server::{Server, answer};

/// A pipeline that reads `t.csv` of a folder or writes to one, by a connection with these options.
fn pipeline(name: &str, source: &str, target: &str) -> String {
    format!(
        "version: 1\npipeline: {name}\nsource: {{ lake: {{ {source} }} }}\ntarget: {{ lake: {{ {target} }} }}\n\
         tables: [ {{ from: t, key: [id] }} ]\n"
    )
}

/// Loads into a connection and out of it again, in an environment that leads nowhere. Of the secret nothing is seen.
fn goes_in_and_out(bench: &Bench, connection: &str, secret: &str) {
    let silent = |outcome: Outcome| {
        assert!(!outcome.stdout.contains(secret) && !outcome.stderr.contains(secret), "{outcome:?}");
        outcome
    };
    bench.write("in/t.csv", "id,n\n1,10\n2,20\n");
    bench.write("in.yaml", pipeline("in", "url: in, format: csv", connection));
    bench.write("out.yaml", pipeline("out", connection, "url: out"));
    for file in ["in.yaml", "out.yaml"] {
        silent(bench.run(&["check", file]).expect(0));
        let run = silent(bench.run(&["run", file, "--log", "debug"]).expect(0)).last_line();
        assert_eq!(run["tables"][0]["written"], 2);
        let run = run["run_id"].as_str().unwrap();
        silent(bench.run(&["show", run, "--plan", "--format", "json"]).expect(0));
        silent(bench.run(&["reconcile", file, "--log", "debug"]).expect(0));
    }
    silent(bench.run(&["discover", "out.yaml"]).expect(0));
    silent(bench.run(&["clean", "in.yaml", "--older-than", "0s"]).expect(99));
    for file in bench.all_files(".transload") {
        let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
        assert!(!text.contains(secret), "{file:?}");
    }
}

#[test]
fn what_a_connection_says_of_s3_wins_over_the_environment() {
    let (server, bucket) = (s3::server(), Bucket::new("written"));
    let bench = Bench::with(vec![
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1".to_string()),
        ("AWS_REGION", "eu-west-9".to_string()),
        ("AWS_ACCESS_KEY_ID", "NOBODY".to_string()),
        ("AWS_SECRET_ACCESS_KEY", "wr0ng".to_string()),
        ("AWS_SESSION_TOKEN", "wr0ng".to_string()),
        ("NO_PROXY", "127.0.0.1".to_string()),
        ("MINE", server.secret.clone()),
    ]);
    let connection = |secret: &str| {
        format!(
            "url: '{}', s3: {{ endpoint: '{}', allow_http: true, region: us-east-1, access_key_id: '{}', \
             secret_access_key: '{secret}' }}",
            bucket.url("lake"),
            server.endpoint,
            server.key
        )
    };
    goes_in_and_out(&bench, &connection("${env:MINE}"), bucket.secret());
    let file = bench.write("secret.txt", format!("{}\n", server.secret));
    bench.write(
        "in.yaml",
        pipeline("in", "url: in, format: csv", &connection(&format!("${{file:{}}}", file.display()))),
    );
    bench.run(&["run", "in.yaml"]).expect(0);
    bench.write("in.yaml", pipeline("in", "url: in, format: csv", &connection("${env:NOT_THERE}")));
    bench.run(&["run", "in.yaml"]).expect(3).says("NOT_THERE");
}

#[test]
fn what_a_connection_says_of_azure_wins_over_the_environment() {
    let (server, container) = (azure::server(), Container::new("written"));
    let bench = Bench::with(vec![
        ("AZURE_STORAGE_ENDPOINT", "http://127.0.0.1:1".to_string()),
        ("AZURE_STORAGE_ACCOUNT", "nobody".to_string()),
        ("AZURE_STORAGE_KEY", "d3IwbmcK".to_string()),
        ("AZURE_CLIENT_ID", "nobody".to_string()),
        ("NO_PROXY", "127.0.0.1".to_string()),
        ("MINE", server.key.clone()),
        ("SIGNED", container.signature(1)),
    ]);
    let connection = |credential: &str| {
        format!(
            "url: '{}', azure: {{ endpoint: '{}', allow_http: true, account: {}, {credential} }}",
            container.url("lake"),
            server.endpoint,
            server.account
        )
    };
    goes_in_and_out(&bench, &connection("access_key: '${env:MINE}'"), container.secret());
    bench.write("in.yaml", pipeline("in", "url: in, format: csv", &connection("sas_token: '${env:SIGNED}'")));
    bench.run(&["run", "in.yaml"]).expect(0);
}

/// A bench with a pipeline into a bucket of a server of the test's own.
fn bench_with(server: &Server, more: &str) -> Bench {
    let bench = Bench::with(vec![("NO_PROXY", "127.0.0.1".to_string()), ("MINE", "s3cr3t-key".to_string())]);
    bench.write("in/t.csv", "id,n\n1,10\n");
    let target = format!(
        "url: 's3://bucket/lake', s3: {{ endpoint: 'http://{}', allow_http: true, access_key_id: ME, \
         secret_access_key: '${{env:MINE}}', session_token: '${{env:MINE}}', retry_secs: 0{more} }}",
        server.place
    );
    bench.write("p.yaml", pipeline("p", "url: in, format: csv", &target));
    bench
}

#[test]
fn each_refusal_of_a_server_has_a_sentence_and_shows_no_secret() {
    let cases = [
        ("404 Not Found", "NoSuchBucket", "", 3, "there is no such bucket", "check its name"),
        ("403 Forbidden", "AccessDenied", "", 3, "access was refused", "check the credentials"),
        ("403 Forbidden", "SignatureDoesNotMatch", "", 3, "the secret does not belong", "check the credentials"),
        ("403 Forbidden", "RequestTimeTooSkewed", "", 3, "the clock of this machine", "set the clock"),
        ("400 Bad Request", "ExpiredToken", "", 3, "the credentials have run out", "get new ones"),
        ("400 Bad Request", "InvalidToken", "", 3, "the session token is not valid", "get a new one"),
        (
            "400 Bad Request",
            "AuthorizationHeaderMalformed",
            "<Region>eu-west-1</Region>",
            3,
            "the bucket is in another region",
            "set `region: eu-west-1`",
        ),
        ("301 Moved Permanently", "PermanentRedirect", "", 3, "the bucket is in another region", "set `region`"),
        ("503 Slow Down", "SlowDown", "", 75, "the object store failed", "can be tried again"),
        ("500 Internal Server Error", "InternalError", "", 75, "the object store failed", "can be tried again"),
    ];
    for (status, code, more, exit, sentence, hint) in cases {
        let body = format!(
            "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>s3cr3t</Message>{more}<Token>s3cr3t</Token></Error>"
        );
        let server = Server::with(move |_, _| answer(status, &[], body.as_bytes()));
        let bench = bench_with(&server, "");
        for args in [["run", "p.yaml", "--log", "debug"], ["clean", "p.yaml", "--log", "debug"]] {
            let outcome = bench.run(&args).expect(exit).says(sentence).says(hint);
            assert!(!outcome.stderr.contains("s3cr3t") && !outcome.stderr.contains("panicked"), "{}", outcome.stderr);
        }
    }
}

#[test]
fn a_server_that_does_not_answer_is_not_waited_for_without_end() {
    let server = Server::with(|_, _| {
        std::thread::sleep(Duration::from_secs(60));
        Vec::new()
    });
    let begun = Instant::now();
    bench_with(&server, ", timeout_secs: 1").run(&["run", "p.yaml"]).expect(75).says("cannot be reached");
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn options_that_do_nothing_are_refused_when_a_reference_tells_what_the_url_is() {
    let bench = Bench::with(vec![("LAKE", "lake".to_string())]);
    bench.write("in/t.csv", "id,n\n1,10\n");
    bench.write("p.yaml", pipeline("p", "url: in, format: csv", "url: '${env:LAKE}', s3: { region: eu-west-1 }"));
    bench.run(&["check", "p.yaml"]).expect(0);
    bench.run(&["run", "p.yaml"]).expect(3).says("`s3` does nothing: the url does not begin with s3://");
}
