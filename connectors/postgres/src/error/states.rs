//! What the codes of a server's errors mean (PostgreSQL documentation, "PostgreSQL Error Codes").
//!
//! Details, hints and contexts of the server hold values of rows and are never shown. Its sentence is shown for those
//! codes whose sentences name objects and sizes, and nothing else. Some codes stand for several things, which only the
//! sentence tells apart; it may be in another language than English, so what is said then is true of all of them.

use transload_core::Error;

use super::{AGAIN, LOST_SNAPSHOT, lost_snapshot, old_snapshot};

/// The sentence that [`is_pooled`] knows.
const POOLED: &str = "a pooler stands before the server and gives each transaction another session";

/// What a server says of an error, as far as anybody may look at it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Said<'a> {
    pub(super) code: &'a str,
    pub(super) message: &'a str,
    /// Whether it comes from a function of the database that the statement calls.
    pub(super) is_inside: bool,
    /// Where in the server's program it comes from.
    pub(super) file: Option<&'a str>,
    pub(super) routine: Option<&'a str>,
    pub(super) schema: Option<&'a str>,
    pub(super) table: Option<&'a str>,
    pub(super) column: Option<&'a str>,
    pub(super) constraint: Option<&'a str>,
    pub(super) datatype: Option<&'a str>,
}

impl Said<'_> {
    fn has(&self, part: &str) -> bool {
        self.message.contains(part)
    }

    fn class(&self) -> &str {
        self.code.get(..2).unwrap_or(self.code)
    }

    pub(super) fn is_lost_snapshot(&self) -> bool {
        match self.code {
            // The second is that of PostgreSQL 17.
            "22023" | "42704" => self.routine == Some("ImportSnapshot") || self.has("invalid snapshot identifier"),
            "55000" => {
                self.routine == Some("SetTransactionSnapshot") || self.has("could not import the requested snapshot")
            }
            _ => false,
        }
    }

    /// Whether something is larger than the piece of memory that the server sends or takes it in. Its sentence speaks of
    /// memory, of which there may be enough.
    fn is_too_large(&self) -> bool {
        match self.code {
            "54000" => self.routine == Some("enlargeStringInfo") || self.has("out of memory"),
            "XX000" => self.has("invalid memory alloc request size"),
            _ => false,
        }
    }

    /// Whether its sentence can be shown: somebody's function may say anything under any code.
    fn is_about_objects(&self) -> bool {
        let file = self.file.and_then(|file| file.rsplit(['/', '\\']).next()).unwrap_or_default();
        if ["pl_", "plpy", "plperl", "pltcl"].iter().any(|language| file.starts_with(language)) {
            return false;
        }
        match (self.class(), self.code) {
            // The words that a statement breaks off at may be a value.
            (_, "42601") => false,
            (_, "54000") => !self.is_too_large(),
            ("XX", code) => code != "XX000" || self.is_too_large(),
            (class, _) => {
                ["08", "0A", "25", "26", "3F", "40", "42", "53", "54", "55", "57", "58", "72"].contains(&class)
            }
        }
    }
}

/// What an error of the server means.
pub(super) fn explain(said: &Said<'_>) -> Error {
    let mut error = meaning(said);
    if error.message() != LOST_SNAPSHOT && said.is_about_objects() && !said.message.is_empty() {
        error = error.because(said.message.to_string());
    }
    if let Some(table) = said.table {
        let name = said.schema.map_or_else(|| table.to_string(), |schema| format!("{schema}.{table}"));
        error = error.with("table", name);
    }
    let objects = [("column", said.column), ("constraint", said.constraint), ("type", said.datatype)];
    for (what, which) in objects {
        if let Some(which) = which {
            error = error.with(what, which);
        }
    }
    error.with("sqlstate", said.code)
}

fn meaning(said: &Said<'_>) -> Error {
    if said.is_lost_snapshot() {
        return lost_snapshot();
    }
    match said.class() {
        "08" => connection(said),
        "0A" => unsupported(said),
        "22" => value(said),
        "23" | "44" => rule(said),
        "25" => transaction(said),
        "26" => pooled(),
        "28" => login(said),
        "3D" => no_database(),
        "40" => conflict(said),
        "3F" | "42" => object(said),
        "53" => shortage(said),
        "54" => limit(said),
        "55" => state(said),
        "57" => stopped(said),
        "58" => Error::transient("the server has trouble with its files").hint("its log says more"),
        "72" => old_snapshot(),
        "HV" => foreign(said),
        "P0" => Error::config("a function or a trigger of the database stopped the statement")
            .hint("its sentence may hold values, so it is not shown here: the server's log has it"),
        "XX" => damaged(said),
        _ => Error::config("the server refused a statement").hint("its log says more"),
    }
}

/// A connection that behaves as one behind a pooler of transactions or statements does.
pub(crate) fn pooled() -> Error {
    Error::config(POOLED).hint("connect to the server itself, or to a pool of sessions (`pool_mode = session`)")
}

/// Whether an error says so.
pub(crate) fn is_pooled(error: &Error) -> bool {
    error.message() == POOLED
}

fn no_database() -> Error {
    Error::config("the server has no such database").hint("check `database`")
}

/// Poolers give their own errors the code of a broken protocol.
fn connection(said: &Said<'_>) -> Error {
    match said.code {
        "08P01" if said.has("transaction blocks not allowed") => pooled(),
        "08P01" if said.has("no such database") => no_database(),
        "08P01" if said.has("authentication") || said.has("auth failed") || said.has("no such user") => wrong_login(),
        "08P01" => Error::transient("the server, or a pooler before it, gave the connection up").hint(AGAIN),
        _ => Error::transient("the connection to the server is gone").hint(AGAIN),
    }
}

fn wrong_login() -> Error {
    Error::config("the server does not take the user's name and password").hint(
        "check `user` and what `password` refers to; without it the variable PGPASSWORD and the password file count",
    )
}

fn login(said: &Said<'_>) -> Error {
    if said.code == "28P01" {
        return wrong_login();
    }
    if said.has("pg_hba.conf") {
        return Error::config("the server's pg_hba.conf does not let this user into this database from here").hint(
            match said.has("no encryption") || said.has("SSL off") {
                true => "it may do so over an encrypted connection: write `tls: { mode: verify-full }`",
                false => "whoever runs the server must add a line to it",
            },
        );
    }
    if said.has("certificate") {
        return Error::config("the server wants a certificate that proves who the user is")
            .hint("name its files with `tls: { client_cert: …, client_key: … }`; it must be made out to `user`");
    }
    Error::config("the server does not let this user in")
        .hint("check `user`: it must be there, and may have to log in otherwise")
}

fn unsupported(said: &Said<'_>) -> Error {
    match said.has("cached plan must not change result type") {
        true => changed(),
        false => Error::config("the server cannot do this"),
    }
}

/// A table is not what it was when the plan was made.
fn changed() -> Error {
    Error::config("the table was changed after the plan was made").hint("make a new plan")
}

fn value(said: &Said<'_>) -> Error {
    let message = match said.code {
        "22001" => "a text is longer than its column or its type allows",
        "22003" => "a number is out of the range of its type",
        "22004" => "a value is NULL where the server allows none",
        "22007" | "22008" => "a date or a time is none that the server takes",
        "22009" => "the server does not know a time zone",
        "22012" => "something is divided by zero",
        "22015" => "an interval is out of the range of its type",
        "22021" | "22P05" => "a text has characters that the database's encoding does not have",
        "22026" => "a value has another length than its type",
        "22P02" => "a value is none of its type",
        "22P03" | "22P04" => return Error::internal("the server does not understand the rows that it is sent"),
        _ => "the server cannot take or make out a value",
    };
    Error::config(message)
        .hint("the server's log, or the same query there, shows which value it is: values are not shown here")
}

fn rule(said: &Said<'_>) -> Error {
    let (message, hint) = match said.code {
        "23502" => ("a row has NULL in a column that allows none", "map something to the column, or let it have NULL"),
        "23503" => (
            "a row refers to one of another table that is not there",
            "load the other table first, or drop the constraint",
        ),
        "23505" => {
            ("two rows have the same key, in what is loaded or with one that is in the table", "check `key` and `mode`")
        }
        "23P01" => ("two rows exclude each other", "filter such rows, or change the rule"),
        _ => ("a row breaks a rule of the table", "filter such rows, or change the rule"),
    };
    Error::config(message).hint(hint)
}

fn transaction(said: &Said<'_>) -> Error {
    match said.code {
        "25006" => Error::config("the server takes no changes on this connection")
            .hint("it is a replica, or set to read only: to write, connect to the primary"),
        "25P02" => Error::transient("the transaction is over: a statement before failed").hint(AGAIN),
        "25P03" => Error::transient("the server ended the connection: its transaction was idle for too long")
            .hint("a pooler may set `idle_in_transaction_session_timeout`: take it from this user"),
        "25P04" => Error::transient("the server ended the connection: its transaction took too long")
            .hint("raise `transaction_timeout` for this user"),
        _ => Error::internal("a transaction is not in the state that it should be in"),
    }
}

fn conflict(said: &Said<'_>) -> Error {
    // The replica's own sentence comes from where a session looks after interrupts, in every language.
    let is_interrupted = said.routine.is_some_and(|routine| routine.starts_with("Process"));
    if said.has("conflict with recovery") || (said.code == "40001" && is_interrupted) {
        return Error::transient(
            "the replica stopped the read: what it must take over from the primary removes rows that it reads",
        )
        .hint(
            "set `hot_standby_feedback = on` or raise `max_standby_streaming_delay` there, or read from the primary",
        );
    }
    match said.code {
        "40P01" => {
            Error::transient("two transactions waited for each other, and the server stopped this one").hint(AGAIN)
        }
        _ => Error::transient("another transaction changed the same rows").hint(AGAIN),
    }
}

fn object(said: &Said<'_>) -> Error {
    match said.code {
        "42501" if said.has("row-level security") || said.routine == Some("check_enable_rls") => {
            Error::config("a policy of the table hides rows from this user")
                .hint("let the user see all (`ALTER ROLE … BYPASSRLS`), or name the owner of the table as `user`")
        }
        "42501" => Error::config("the user may not do this in the database").hint("grant the user what is missing"),
        "42P01" | "42704" | "42883" | "3F000" if said.is_inside => {
            Error::config("a function of the database does not find what it needs").hint(
                "names are looked up in `pg_catalog` alone here: give it a path of its own, with \
                 `ALTER FUNCTION … SET search_path = …`",
            )
        }
        "42P01" | "42703" | "42704" | "3F000" => {
            Error::config("a table, a column or a type is not there, or no longer")
                .hint("check the name; if it was dropped or changed after the plan was made, make a new plan")
        }
        "42804" | "42846" | "42883" => Error::config("the types of a table's columns are not those of the plan")
            .hint("if it was changed after the plan was made, make a new plan"),
        // A statement that another one has prepared, or nobody.
        "42P05" => pooled(),
        "42P06" | "42P07" | "42701" | "42710" => Error::config("something of that name is there already"),
        "42809" => Error::config("something of that name is there, but not what it must be"),
        "42622" => Error::config("a name is longer than the server allows"),
        "42601" | "42P02" => Error::internal("the server does not understand a statement"),
        _ => Error::config("the server does not take a statement"),
    }
}

fn shortage(said: &Said<'_>) -> Error {
    match said.code {
        "53100" => Error::transient("the server has no room left on its disk")
            .hint("make room there, then `transload resume` goes on with this run"),
        // Each table, partition and index takes one in every transaction that reads it.
        "53200" if said.has("out of shared memory") || said.routine == Some("LockAcquireExtended") => {
            Error::transient("the server has no room for more locks")
                .hint("raise its `max_locks_per_transaction`, lower `connections`, or read fewer tables in one run")
        }
        "53200" => Error::transient("the server has no memory left").hint("lower `connections`, or try again later"),
        "53300" => Error::transient("the server takes no more connections")
            .hint("lower `connections`, or raise the server's `max_connections` or the limit of this user"),
        "53400" => Error::config("a limit of the server is too low for this")
            .hint("raise it for this user, such as `temp_file_limit`"),
        _ => Error::transient("the server has not enough of something").hint(AGAIN),
    }
}

fn limit(said: &Said<'_>) -> Error {
    match said.code {
        "54000" if said.is_too_large() => too_large(),
        "54000" if said.has("row is too big") || said.routine == Some("RelationGetBufferForTuple") => Error::config(
            "a row does not fit into one of the server's pages, outside of which only long values are kept",
        )
        .hint("leave columns out, or spread them over several tables"),
        "54001" => Error::config("a statement is too deep for the server").hint("raise its `max_stack_depth`"),
        "54011" => Error::config("the table would have more columns than the server allows")
            .hint("leave some out, or spread them over several tables"),
        _ => Error::config("a row, a value or an entry of an index is larger than the server allows")
            .hint("leave the column out, or spread the columns over several tables"),
    }
}

/// The server sends each row in one piece, and takes each value in one.
fn too_large() -> Error {
    Error::config("a row or a value is larger than the server can send or take, which is about a gigabyte")
        .hint("leave the column out, with `drop: true`, or shorten the value")
}

fn state(said: &Said<'_>) -> Error {
    match said.code {
        "55P03" => Error::transient("somebody else has locked the table for longer than is waited here")
            .hint("wait for their work to end, such as ALTER TABLE, or raise `lock_timeout_secs`"),
        "55006" => Error::transient("something is in use by somebody else").hint(AGAIN),
        _ if said.has("has not been populated") => {
            Error::config("the materialized view holds nothing yet").hint("fill it with REFRESH MATERIALIZED VIEW")
        }
        _ => Error::config("something in the database is not in the state that it must be in"),
    }
}

fn stopped(said: &Said<'_>) -> Error {
    match said.code {
        "57014" if said.has("statement timeout") => Error::transient("a statement took longer than it may")
            .hint("raise `statement_timeout_secs`, or read smaller splits"),
        "57014" if said.has("user request") => Error::transient("somebody stopped the statement").hint(AGAIN),
        "57014" => Error::transient("a statement was stopped: by somebody, or since it took longer than it may")
            .hint("raise `statement_timeout_secs` if it is that"),
        "57P01" => {
            Error::transient("the server ended the connection: it shuts down, or somebody asked for it").hint(AGAIN)
        }
        "57P02" => Error::transient("the server ended the connection: another of its processes crashed").hint(AGAIN),
        "57P03" => {
            Error::transient("the server takes no connections now: it starts, shuts down or recovers").hint(AGAIN)
        }
        "57P04" => Error::config("the database was dropped").hint("check `database`"),
        "57P05" => Error::transient("the server ended the connection: it was idle for too long")
            .hint("raise `idle_session_timeout` for this user"),
        _ => Error::transient("the server stopped the statement").hint(AGAIN),
    }
}

fn foreign(said: &Said<'_>) -> Error {
    match said.code {
        "HV00N" => Error::transient("the server cannot reach the other one that a foreign table is of").hint(AGAIN),
        _ => Error::config("a foreign table cannot be read").hint("the server's log says more"),
    }
}

fn damaged(said: &Said<'_>) -> Error {
    match said.code {
        "XX001" | "XX002" => Error::config("the server's files of a table or an index are damaged")
            .hint("the server's log says more: restore the table, or rebuild the index"),
        _ if said.is_too_large() => too_large(),
        _ => {
            Error::config("the server failed at a statement in a way that it has no name for").hint("its log says more")
        }
    }
}

#[cfg(test)]
mod tests {
    use transload_core::ErrorKind::{self, Config, Internal, Transient};

    use super::*;

    fn said<'a>(code: &'a str, message: &'a str) -> Said<'a> {
        Said { code, message, ..Said::default() }
    }

    /// All that a person may get to see.
    fn shown(said: &Said<'_>) -> String {
        format!("{:?}", explain(said))
    }

    #[test]
    fn what_passes_is_told_from_what_somebody_must_change() {
        let cases: [(&str, &str, ErrorKind, &str); 39] = [
            ("28P01", "password authentication failed for user \"u\"", Config, "does not take the user's name"),
            (
                "28000",
                "no pg_hba.conf entry for host \"h\", user \"u\", database \"d\", no encryption",
                Config,
                "verify-full",
            ),
            (
                "28000",
                "no pg_hba.conf entry for host \"h\", user \"u\", database \"d\", SSL encryption",
                Config,
                "add a line",
            ),
            ("28000", "connection requires a valid client certificate", Config, "client_cert"),
            ("28000", "role \"u\" is not permitted to log in", Config, "check `user`"),
            ("3D000", "database \"d\" does not exist", Config, "check `database`"),
            ("42501", "permission denied for table t", Config, "permission denied for table t"),
            ("42501", "query would be affected by row-level security policy for table \"t\"", Config, "BYPASSRLS"),
            ("42P01", "relation \"t\" does not exist", Config, "make a new plan"),
            ("42703", "column \"c\" does not exist", Config, "make a new plan"),
            ("0A000", "cached plan must not change result type", Config, "changed after the plan"),
            ("54000", "row is too big: size 12624, maximum size 8160", Config, "size 12624"),
            ("54000", "row is too big: size 12624, maximum size 8160", Config, "the server's pages"),
            ("54000", "index row size 4000 exceeds btree version 4 maximum 2704 for index \"i\"", Config, "an index"),
            ("54000", "out of memory", Config, "about a gigabyte"),
            ("54011", "tables can have at most 1600 columns", Config, "several tables"),
            ("XX000", "invalid memory alloc request size 1073741824", Config, "about a gigabyte"),
            ("25006", "cannot execute CREATE TABLE in a read-only transaction", Config, "connect to the primary"),
            ("42601", "syntax error at or near \"x\"", Internal, "does not understand"),
            ("08006", "connection failure", Transient, "gone"),
            ("57P01", "terminating connection due to administrator command", Transient, "shuts down"),
            ("57P02", "terminating connection because of crash of another server process", Transient, "crashed"),
            ("57P03", "the database system is starting up", Transient, "starts"),
            ("53100", "could not extend file \"base/5/16\": No space left on device", Transient, "no room left"),
            ("53200", "out of memory", Transient, "no memory left"),
            ("53200", "out of shared memory", Transient, "max_locks_per_transaction"),
            ("53300", "sorry, too many clients already", Transient, "lower `connections`"),
            ("55P03", "canceling statement due to lock timeout", Transient, "lock_timeout_secs"),
            ("40001", "canceling statement due to conflict with recovery", Transient, "hot_standby_feedback"),
            ("40001", "could not serialize access due to concurrent update", Transient, "changed the same rows"),
            ("40P01", "deadlock detected", Transient, "waited for each other"),
            ("57014", "canceling statement due to statement timeout", Transient, "took longer than it may"),
            ("57014", "canceling statement due to user request", Transient, "somebody stopped"),
            ("57014", "storniere Anfrage wegen Zeitüberschreitung der Anfrage", Transient, "by somebody, or since"),
            ("72000", "snapshot too old", Transient, "old_snapshot_threshold"),
            ("25P03", "terminating connection due to idle-in-transaction timeout", Transient, "idle for too long"),
            ("26000", "prepared statement \"s0\" does not exist", Config, "pool_mode = session"),
            ("42P05", "prepared statement \"s0\" already exists", Config, "pool_mode = session"),
            ("99999", "anything", Config, "its log says more"),
        ];
        for (code, message, kind, wanted) in cases {
            let said = said(code, message);
            assert_eq!(explain(&said).kind(), kind, "{code} {message}");
            let shown = shown(&said);
            assert!(shown.contains(wanted) && shown.contains(&format!("sqlstate {code}")), "{code} {message}: {shown}");
        }
    }

    #[test]
    fn what_is_too_large_is_known_by_where_the_server_notices() {
        let of = |message, routine| shown(&Said { routine: Some(routine), ..said("54000", message) });
        let large = of("Speicher aufgebraucht", "enlargeStringInfo");
        assert!(large.contains("about a gigabyte") && !large.contains("Speicher"), "{large}");
        assert!(!shown(&said("54000", "out of memory")).contains("out of memory"));
        let row = of("Zeile ist zu groß: Größe ist 12624, Maximalgröße ist 8160", "RelationGetBufferForTuple");
        assert!(row.contains("the server's pages") && row.contains("12624"), "{row}");
    }

    #[test]
    fn what_a_function_lacks_is_told_from_what_the_load_does() {
        for (code, message) in [("42P01", "relation \"t\" does not exist"), ("42883", "function f() does not exist")] {
            let inside = Said { is_inside: true, ..said(code, message) };
            assert!(shown(&inside).contains("SET search_path") && shown(&inside).contains(message), "{code}");
            assert!(!shown(&said(code, message)).contains("search_path"), "{code}");
        }
    }

    #[test]
    fn what_a_pooler_says_is_told_apart() {
        for (message, kind) in [
            ("SASL authentication failed", Config),
            ("server login failed: FATAL password authentication failed for user \"u\"", Config),
            ("no such database: d", Config),
            ("transaction blocks not allowed in statement pooling mode", Config),
            ("query_wait_timeout", Transient),
            ("no more connections allowed (max_client_conn)", Transient),
        ] {
            assert_eq!(explain(&said("08P01", message)).kind(), kind, "{message}");
        }
    }

    #[test]
    fn values_of_rows_are_never_shown() {
        for (code, message) in [
            ("22P02", "invalid input syntax for type integer: \"s3cr3t\""),
            ("22007", "invalid input syntax for type date: \"s3cr3t\""),
            ("22008", "date/time field value out of range: \"s3cr3t\""),
            ("22003", "value \"s3cr3t\" is out of range for type integer"),
            ("22021", "invalid byte sequence for encoding \"UTF8\": s3cr3t"),
            ("23505", "s3cr3t"),
            ("42601", "syntax error at or near \"s3cr3t\""),
            ("P0001", "bad value s3cr3t"),
            ("HV000", "remote says s3cr3t"),
            ("XX000", "extension says s3cr3t"),
            ("99999", "s3cr3t"),
            ("é", "s3cr3t"),
        ] {
            let shown = shown(&said(code, message));
            assert!(!shown.contains("s3cr3t"), "{code}: {shown}");
        }
        let raised = Said { file: Some("pl_exec.c"), ..said("42501", "bad value s3cr3t") };
        assert!(!shown(&raised).contains("s3cr3t"));
    }

    #[test]
    fn the_objects_of_a_broken_rule_are_named() {
        let broken = Said {
            schema: Some("sales"),
            table: Some("orders"),
            constraint: Some("orders_pkey"),
            ..said("23505", "duplicate key value violates unique constraint \"orders_pkey\"")
        };
        let error = explain(&broken);
        let named = "(table sales.orders, constraint orders_pkey, sqlstate 23505)";
        assert!(error.to_string().ends_with(named), "{error}");
        assert_eq!((error.kind(), super::super::sqlstate(&error)), (Config, Some("23505")));
    }

    #[test]
    fn a_snapshot_that_nobody_holds_is_told_from_other_mistakes() {
        let of = |code, message, routine| Said { routine, ..said(code, message) };
        for lost in [
            of("22023", "invalid snapshot identifier: \"00000003-0000001B-1\"", None),
            of("22023", "ungültiger Snapshot-Bezeichner", Some("ImportSnapshot")),
            of("42704", "snapshot \"00000003-0000001B-1\" does not exist", Some("ImportSnapshot")),
            of("55000", "could not import the requested snapshot", None),
        ] {
            let error = explain(&lost);
            assert!(lost.is_lost_snapshot() && super::super::is_lost(&error), "{lost:?}");
            assert_eq!(error.kind(), Transient);
        }
        assert!(super::super::is_lost(&explain(&said("72000", "snapshot too old"))));
        for other in [
            of("22023", "invalid value for parameter \"lock_timeout\": \"x\"", Some("parse_and_validate_value")),
            of("42704", "type \"t\" does not exist", Some("typenameType")),
            of("0A000", "a snapshot-importing transaction must have isolation level", Some("ImportSnapshot")),
        ] {
            assert!(!other.is_lost_snapshot() && !super::super::is_lost(&explain(&other)), "{other:?}");
        }
    }
}
