//! What a connection says about its store, and what servers answer.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use transload_testkit::proxy::{Fault, Rule, When};

use crate::azure::{self, Container};
use crate::harness::{Bench, Outcome, python};
use crate::place::{Place, behind_a_proxy, guarded};
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

/// A bench with a pipeline into a connection.
fn bench_into(target: &str) -> Bench {
    let hosts = "127.0.0.1,localhost,no-such-host.invalid".to_string();
    // `s3cr3t-key`, and as keys of Azure are written.
    let keys = [("MINE", "s3cr3t-key".to_string()), ("CODED", "czNjcjN0LWtleQ==".to_string())];
    let bench = Bench::with([("NO_PROXY", hosts)].into_iter().chain(keys).collect());
    bench.write("in/t.csv", "id,n\n1,10\n");
    bench.write("p.yaml", pipeline("p", "url: in, format: csv", target));
    bench
}

/// One into a bucket at an address.
fn bench_at(endpoint: &str, more: &str) -> Bench {
    bench_into(&format!(
        "url: 's3://bucket/lake', s3: {{ endpoint: '{endpoint}', access_key_id: ME, \
         secret_access_key: '${{env:MINE}}', session_token: '${{env:MINE}}', retry_secs: 0{more} }}"
    ))
}

/// One into a bucket of a server of the test's own.
fn bench_with(server: &Server, more: &str) -> Bench {
    bench_at(&format!("http://{}", server.place), &format!(", allow_http: true{more}"))
}

/// Asserts that a command ends with a sentence and a hint, shows no secret and does not panic.
#[track_caller]
fn is_refused(bench: &Bench, verb: &str, exit: i32, sentence: &str, hint: &str) {
    let outcome = bench.run(&[verb, "p.yaml", "--log", "debug"]).expect(exit).says(sentence).says(hint);
    for secret in ["s3cr3t", "czNjcjN0", "panicked"] {
        assert!(!outcome.stderr.contains(secret) && !outcome.stdout.contains(secret), "{}", outcome.stderr);
    }
    let sentences = outcome.stderr.lines().filter(|line| line.starts_with("error: "));
    assert_eq!(sentences.count(), 1, "{}", outcome.stderr);
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
        for verb in ["run", "clean"] {
            is_refused(&bench, verb, exit, sentence, hint);
        }
    }
}

#[test]
fn each_refusal_of_azure_has_a_sentence_and_shows_no_secret() {
    let (old, over) =
        ("Request date header too old: 's3cr3t'", "Signature not valid in the specified time frame: s3cr3t");
    let cases = [
        ("404 Not Found", "ContainerNotFound", "", 3, "there is no such bucket", "check its name"),
        ("403 Forbidden", "AuthenticationFailed", "", 3, "access was refused", "check the credentials"),
        ("403 Forbidden", "AuthorizationPermissionMismatch", "", 3, "access was refused", "check the credentials"),
        ("403 Forbidden", "AuthenticationFailed", old, 3, "the clock of this machine", "set the clock"),
        ("403 Forbidden", "AuthenticationFailed", over, 3, "the credentials have run out", "get new ones"),
        ("401 Unauthorized", "InvalidAuthenticationInfo", "", 3, "access was refused", "check the credentials"),
        ("503 Server Busy", "ServerBusy", "", 75, "the object store failed", "can be tried again"),
        ("500 Internal Server Error", "OperationTimedOut", "", 75, "the object store failed", "can be tried again"),
    ];
    for (status, code, detail, exit, sentence, hint) in cases {
        let body = format!(
            "\u{feff}<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>s3cr3t</Message>\
             <AuthenticationErrorDetail>{detail}</AuthenticationErrorDetail></Error>"
        );
        let server = Server::with(move |_, _| answer(status, &[], body.as_bytes()));
        let bench = bench_into(&format!(
            "url: 'az://box/lake', azure: {{ endpoint: 'http://{}/me', allow_http: true, account: me, \
             access_key: '${{env:CODED}}', retry_secs: 0 }}",
            server.place
        ));
        for verb in ["run", "clean"] {
            is_refused(&bench, verb, exit, sentence, hint);
        }
    }
}

#[test]
fn a_server_that_has_too_much_to_do_is_asked_again() {
    let busy = |status: &str, code: &str| {
        let body = format!("<Error><Code>{code}</Code></Error>");
        Fault::Answer(String::from_utf8(answer(status, &[], body.as_bytes())).unwrap())
    };
    let answers = [
        busy("503 Slow Down", "SlowDown"),
        busy("429 Too Many Requests", "TooManyRequests"),
        busy("500 Internal Server Error", "InternalError"),
        busy("408 Request Timeout", "RequestTimeout"),
    ];
    let (bucket, container) = (Bucket::new("busy"), Container::new("busy"));
    let places: [&dyn Place; 2] = [&bucket, &container];
    for place in places {
        let (proxy, variables) = behind_a_proxy(place);
        let bench = Bench::with(variables);
        bench.write("in/t.csv", "id,n\n1,10\n2,20\n");
        bench.write("p.yaml", pipeline("p", "url: in, format: csv", &format!("url: '{}'", place.url("lake"))));
        let methods = ["GET ", "PUT ", "POST ", "HEAD "];
        proxy.set(methods.iter().zip(&answers).flat_map(|(method, answer)| {
            // The first, and the one behind the first that is answered.
            [When::Nth(1), When::Nth(3)].map(|when| Rule::requests([*method], when, answer.clone()))
        }));
        let ran = bench.run(&["run", "p.yaml"]).expect(0).last_line();
        let table = &ran["tables"][0];
        assert_eq!((&table["written"], &table["verdict"]), (&json!(2), &json!("match")));
        let struck = proxy.struck();
        assert!(struck.len() > 4, "{struck:?}");
    }
}

#[test]
fn names_that_are_no_paths_are_refused() {
    for name in ["lake/../t.csv", "lake/a//t.csv", "lake/./t.csv", "lake/a&#x9;b.csv"] {
        let body = format!(
            "<?xml version=\"1.0\"?><ListBucketResult><Contents><Key>{name}</Key><Size>1</Size>\
             <LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>x</ETag></Contents></ListBucketResult>"
        );
        let server = Server::with(move |_, _| answer("200 OK", &[], body.as_bytes()));
        is_refused(&bench_with(&server, ""), "run", 3, "a name that cannot be a path", "rename it");
    }
}

#[test]
fn a_bucket_without_a_region_is_looked_for_in_the_usual_one() {
    let bucket = Bucket::new("regionless");
    let mut variables = bucket.variables();
    variables.retain(|(name, _)| !name.contains("REGION"));
    let bench = Bench::with(variables);
    bench.write("in/t.csv", "id,n\n1,10\n");
    bench.write("p.yaml", pipeline("p", "url: in, format: csv", &format!("url: '{}'", bucket.url("lake"))));
    bench.run(&["run", "p.yaml"]).expect(0);
}

/// A server with a certificate that it has signed itself.
const SELF_SIGNED: &str = r#"
import datetime, http.server, json, ssl, sys, tempfile, threading
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

key = ec.generate_private_key(ec.SECP256R1())
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
now = datetime.datetime.now(datetime.timezone.utc)
certificate = (
    x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    .serial_number(x509.random_serial_number()).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False).sign(key, hashes.SHA256())
)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
with tempfile.NamedTemporaryFile() as pem:
    plain = serialization.NoEncryption()
    pem.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    pem.write(certificate.public_bytes(serialization.Encoding.PEM))
    pem.flush()
    context.load_cert_chain(pem.name)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
server.handle_error = lambda *_: None
server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(json.dumps({"port": server.server_port}), flush=True)
sys.stdin.read()
"#;

#[test]
fn a_certificate_that_nobody_trusts_is_refused() {
    let (said, mut guardian) = guarded(Command::new(python()).args(["-B", "-c", SELF_SIGNED]));
    let bench = bench_at(&format!("https://localhost:{}", said["port"]), "");
    is_refused(&bench, "run", 3, "the certificate of the server cannot be trusted", "it must be signed");
    drop(guardian.stdin.take());
    guardian.wait().unwrap();
}

#[test]
fn a_host_that_does_not_exist_can_be_tried_again() {
    let bench = bench_at("https://no-such-host.invalid", "");
    is_refused(&bench, "run", 75, "the object store failed or cannot be reached", "check the network and the endpoint");
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
