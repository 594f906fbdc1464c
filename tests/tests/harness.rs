//! A folder to work in and the program to run in it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;

/// A folder of its own for one test, with the program to run in it.
pub(crate) struct Bench {
    dir: tempfile::TempDir,
    variables: Vec<(&'static str, String)>,
}

/// How a run of the program ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The exit code; -1 if a signal ended it.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(Vec::new())
    }

    /// One where the program finds these variables in its environment.
    pub(crate) fn with(variables: Vec<(&'static str, String)>) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), variables }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file, making its folder.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A command that would run the program here.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_transload-faulty"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env_remove("TRANSLOAD_LEDGER")
            .env_remove("TRANSLOAD_LOG")
            .env_remove("FAILPOINTS")
            .env_remove("TRANSLOAD_FAULTY_IO")
            .env_remove("PGPASSWORD")
            .env_remove("PGPASSFILE")
            .envs(self.variables.iter().map(|(name, value)| (*name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Runs the program here.
    pub(crate) fn run(&self, args: &[&str]) -> Outcome {
        outcome(self.command(args).output().unwrap())
    }

    /// Runs the program here with fault points armed, such as `stage.written=return(kill)`.
    pub(crate) fn run_with_faults(&self, args: &[&str], faults: &str) -> Outcome {
        outcome(self.command(args).env("FAILPOINTS", faults).output().unwrap())
    }

    /// Runs the program here with requests to stores that fail by their number, such as `every=7,how=transient`.
    pub(crate) fn run_with_faulty_io(&self, args: &[&str], faults: &str) -> Outcome {
        outcome(self.command(args).env("TRANSLOAD_FAULTY_IO", faults).output().unwrap())
    }

    /// The name of the newest run.
    pub(crate) fn newest_run(&self) -> String {
        let runs: Value = serde_json::from_str(&self.run(&["runs", "--format", "json"]).stdout).unwrap();
        runs["runs"][0]["run_id"].as_str().unwrap().to_string()
    }

    /// Every file below a folder that is data: no hidden names.
    pub(crate) fn data_files(&self, folder: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        walk(&self.path(folder), &mut found);
        found.retain(|p| {
            let below = p.strip_prefix(self.dir.path()).unwrap();
            !below.components().any(|c| c.as_os_str().to_string_lossy().starts_with(['_', '.']))
        });
        found.sort();
        found
    }

    /// Every file below a folder, hidden ones too.
    pub(crate) fn all_files(&self, folder: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        walk(&self.path(folder), &mut found);
        found.sort();
        found
    }
}

impl Outcome {
    /// The last line of standard output as JSON.
    pub(crate) fn last_line(&self) -> Value {
        let line = self.stdout.lines().last().unwrap_or_else(|| panic!("no output: {self:?}"));
        serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Asserts that standard error says something.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "`{text}` is not in:\n{}", self.stderr);
        self
    }
}

/// Runs a command, and says how it ended.
pub(crate) fn ended(command: &mut Command) -> Outcome {
    outcome(command.output().unwrap_or_else(|e| panic!("{command:?}: {e}")))
}

fn outcome(output: Output) -> Outcome {
    Outcome {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The program while it runs.
pub(crate) struct Started(Option<Child>);

impl Started {
    /// Starts the program with fault points armed and does not wait for it.
    pub(crate) fn new(bench: &Bench, args: &[&str], faults: &str) -> Self {
        let mut command = bench.command(args);
        command.env("FAILPOINTS", faults).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(Some(command.spawn().unwrap()))
    }

    /// Sends a signal, such as `INT`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.0.as_ref().unwrap().id().to_string();
        done(Command::new("kill").args(["-s", name, &id]));
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.0.as_mut().unwrap().try_wait().unwrap().is_none()
    }

    /// Waits for its end.
    pub(crate) fn ended(mut self) -> Outcome {
        outcome(self.0.take().unwrap().wait_with_output().unwrap())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits until something is so, for a minute at most.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a load has written something where nobody sees it.
pub(crate) fn is_staging(bench: &Bench) -> bool {
    bench.all_files("lake").iter().any(|p| p.to_string_lossy().contains("/staging/"))
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => walk(&path, found),
            path => found.push(path),
        }
    }
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Whether golden files are written anew rather than compared.
#[allow(clippy::disallowed_methods)]
pub(crate) fn updates_golden() -> bool {
    std::env::var("UPDATE_GOLDEN").is_ok()
}

/// Asserts that a golden file, whose parts begin with `==== `, holds just this; `UPDATE_GOLDEN=1` writes it anew.
#[track_caller]
pub(crate) fn assert_golden(file: &str, said: &str) {
    let golden = root().join(file);
    if updates_golden() {
        std::fs::write(&golden, said).unwrap();
    }
    let expected = std::fs::read_to_string(&golden).unwrap();
    for (a, b) in said.split("==== ").zip(expected.split("==== ")) {
        assert_eq!(a, b);
    }
    assert_eq!(said.len(), expected.len());
}

/// Asserts that a page holds just these lines between `<!-- begin NAME -->` and `<!-- end NAME -->`; `UPDATE_GOLDEN=1`
/// writes them anew.
#[track_caller]
pub(crate) fn assert_block(page: &str, name: &str, lines: &str) {
    let page = root().join(page);
    let text = std::fs::read_to_string(&page).unwrap();
    let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->\n"));
    let between = text.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?)));
    let (before, (there, after)) = between.unwrap_or_else(|| panic!("{} has no block {name}", page.display()));
    if updates_golden() {
        std::fs::write(&page, format!("{before}{begin}{lines}{end}{after}")).unwrap();
    } else {
        assert_eq!(there, lines, "{}: UPDATE_GOLDEN=1 writes it anew", page.display());
    }
}

/// A Python with the packages of `tests/requirements.txt`, made on first use beside the build.
pub(crate) fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| installed("python", "tests/requirements.txt"))
}

/// The same with an older DuckDB, the newest that there is a package of its extension for Delta tables for.
pub(crate) fn delta_reader() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| installed("delta-reader", "tests/requirements-delta.txt"))
}

/// A Python with what generated code runs in: dbt with DuckDB, and Spark, for which there has to be a Java.
pub(crate) fn generated_code() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        java();
        installed("generate", "tests/requirements-generate.txt")
    })
}

/// The program of a Java: one that is there, or Debian's, which is installed on first use where that is allowed.
fn java() -> String {
    let lock = std::fs::File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("java.lock")).unwrap();
    lock.lock().unwrap();
    if let Some(path) = found_program("java") {
        return path;
    }
    let said = [
        apt_get(&["update", "--quiet"]),
        apt_get(&["install", "--yes", "--quiet", "--no-install-recommends", "openjdk-17-jre-headless"]),
    ];
    found_program("java").unwrap_or_else(|| {
        panic!(
            "jobs for Spark are run in a real one, which needs Java, and there is none; install it (apt-get install \
             openjdk-17-jre-headless), or run the tests as root on Debian, where they do it: {}",
            said.concat()
        )
    })
}

/// The driver by which programs of Java reach PostgreSQL, installed as Java is.
pub(crate) fn postgres_driver() -> &'static Path {
    let driver = Path::new("/usr/share/java/postgresql.jar");
    if !driver.exists() {
        let said = [
            apt_get(&["update", "--quiet"]),
            apt_get(&["install", "--yes", "--quiet", "--no-install-recommends", "libpostgresql-jdbc-java"]),
        ];
        assert!(
            driver.exists(),
            "jobs for Spark reach PostgreSQL by its driver, and there is none; install it (apt-get install \
             libpostgresql-jdbc-java), or run the tests as root on Debian, where they do it: {}",
            said.concat()
        );
    }
    driver
}

/// A Python with packages, in a folder of this name.
fn installed(folder: &str, requirements: &str) -> PathBuf {
    let requirements = root().join(requirements);
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
    let stamp = venv.join("installed.txt");
    let wanted = std::fs::read_to_string(&requirements).unwrap();
    // Test processes may come here at the same time: one installs, the others wait.
    std::fs::create_dir_all(venv.parent().unwrap()).unwrap();
    let lock = std::fs::File::create(venv.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    if std::fs::read_to_string(&stamp).ok().as_deref() != Some(wanted.as_str()) {
        done(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
        done(Command::new(venv.join("bin/pip")).args(["install", "--quiet", "-r"]).arg(&requirements));
        std::fs::write(&stamp, wanted).unwrap();
    }
    venv.join("bin/python")
}

/// Microsoft's emulator of Azure Blob Storage, installed on first use beside the build.
pub(crate) fn azurite() -> &'static Path {
    const PACKAGE: &str = "azurite@3.35.0";
    static AZURITE: OnceLock<PathBuf> = OnceLock::new();
    AZURITE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("azurite");
        let stamp = folder.join("installed.txt");
        std::fs::create_dir_all(&folder).unwrap();
        // Test processes may come here at the same time: one installs, the others wait.
        let lock = std::fs::File::create(folder.join("lock")).unwrap();
        lock.lock().unwrap();
        if std::fs::read_to_string(&stamp).ok().as_deref() != Some(PACKAGE) {
            let quietly = ["install", "--silent", "--no-fund", "--no-audit", "--prefix"];
            done(Command::new("npm").args(quietly).arg(&folder).arg(PACKAGE));
            std::fs::write(&stamp, PACKAGE).unwrap();
        }
        folder.join("node_modules/.bin/azurite-blob")
    })
}

/// The program of a Chromium: one that is there, or Debian's, which is installed on first use where that is allowed.
pub(crate) fn browser() -> &'static str {
    static BROWSER: OnceLock<String> = OnceLock::new();
    BROWSER.get_or_init(|| {
        let lock = std::fs::File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("browser.lock")).unwrap();
        lock.lock().unwrap();
        if let Some(path) = installed_browser() {
            return path;
        }
        let said = [
            apt_get(&["update", "--quiet"]),
            apt_get(&["install", "--yes", "--quiet", "--no-install-recommends", "chromium", "fonts-dejavu-core"]),
        ];
        installed_browser().unwrap_or_else(|| {
            panic!(
                "reports are looked at in a real browser, and there is none; install Chromium (apt-get install chromium), \
                 or run the tests as root on Debian, where they do it: {}",
                said.concat()
            )
        })
    })
}

fn installed_browser() -> Option<String> {
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"].into_iter().find_map(found_program)
}

/// Where a program is that can be called by its name.
fn found_program(name: &str) -> Option<String> {
    let found = Command::new("sh").args(["-c", "command -v \"$0\"", name]).output().ok()?;
    found.status.success().then(|| String::from_utf8_lossy(&found.stdout).trim().to_string())
}

/// Runs `apt-get` and returns what it complains about. One at a time does so, as it does not wait for others.
fn apt_get(args: &[&str]) -> String {
    let lock = std::fs::File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("apt.lock")).unwrap();
    lock.lock().unwrap();
    match Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive").output() {
        Ok(output) if output.status.success() => String::new(),
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    }
}

/// Runs a Python script and returns what it prints.
#[track_caller]
pub(crate) fn run_python(script: &str, args: &[&str]) -> String {
    run_python_of(python(), script, args)
}

/// The same with one of several Pythons.
#[track_caller]
pub(crate) fn run_python_of(python: &Path, script: &str, args: &[&str]) -> String {
    // What some of the packages start does not always survive the end of the interpreter.
    let script = format!("{script}\nimport os, sys; sys.stdout.flush(); os._exit(0)\n");
    done(Command::new(python).args(["-B", "-c", &script]).args(args))
}

/// Runs a command that must succeed and returns what it prints.
#[track_caller]
pub(crate) fn done(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A pipeline that copies tables of TPC-H at a small scale into `lake`.
pub(crate) fn tpch_pipeline(tables: &str) -> String {
    format!(
        "version: 1\npipeline: test\nsource: {{ tpch: {{ scale: 0.01 }} }}\ntarget: {{ lake: {{ url: lake }} }}\ntables:\n{tables}"
    )
}
