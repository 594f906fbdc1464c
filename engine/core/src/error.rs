//! One error type for the whole product.
//!
//! A crate converts a foreign error once, at its edge, and says what it was doing and with which
//! object. The [`ErrorKind`] decides the exit code and whether trying again can help; a reader
//! never has to look at the text to decide.

use std::fmt;

/// `Result` with transload's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure this is: the part a program (or a scheduler) acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A bug in transload, or a library that broke its own contract.
    Internal,
    /// The command line cannot be understood.
    Usage,
    /// A file, a setting or a source is not what it must be; a human has to change something.
    Config,
    /// Data broke a rule whose policy is to stop the load.
    Quality,
    /// Source and target differ.
    Mismatch,
    /// The outcome of a commit cannot be known; call commit again with the same key to learn it.
    CommitUnknown,
    /// Nothing, or only a part, could be compared.
    NotCompared,
    /// Trying again later can succeed without anyone changing anything.
    Transient,
    /// There is nothing to do.
    NothingToDo,
    /// Stopped by SIGINT.
    Interrupted,
    /// Stopped by SIGTERM.
    Terminated,
}

impl ErrorKind {
    /// The process exit code of this kind; stable, see `docs/exit-codes.md`.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Internal => 1,
            Self::Usage => 2,
            Self::Config => 3,
            Self::Quality => 4,
            Self::Mismatch => 5,
            Self::CommitUnknown => 8,
            Self::NotCompared => 9,
            Self::Transient => 75,
            Self::NothingToDo => 99,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// Of several failures the one of the least rank decides how a command ends: bugs come first, what passes by itself
    /// last.
    pub fn rank(self) -> u8 {
        match self {
            Self::Internal => 0,
            Self::CommitUnknown => 1,
            Self::Transient => 3,
            _ => 2,
        }
    }
}

/// A failure with its kind, one sentence, the objects it concerns, an optional hint and its cause.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    context: Vec<(&'static str, String)>,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` that says `message`: what failed, in one sentence without a full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), context: Vec::new(), hint: None, source: None }))
    }

    /// [`ErrorKind::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// [`ErrorKind::Config`].
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    /// [`ErrorKind::Transient`].
    pub fn transient(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Transient, message)
    }

    /// Adds the object this error concerns, such as `("table", "orders")`. The outermost comes last.
    #[must_use]
    pub fn with(mut self, what: &'static str, which: impl Into<String>) -> Self {
        let object = (what, which.into());
        if !self.0.context.contains(&object) {
            self.0.context.push(object);
        }
        self
    }

    /// Says what a person can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Keeps the cause. Its text is shown by [`Error::chain`], so it must not hold a secret or a row value.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The kind.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The sentence, without context, cause or hint.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What a person can do about it, if known.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The objects this error concerns, innermost first.
    pub fn context(&self) -> &[(&'static str, String)] {
        &self.0.context
    }

    /// Whether trying the same thing again can help.
    pub fn is_transient(&self) -> bool {
        self.0.kind == ErrorKind::Transient
    }

    /// Whether the same work, gone on with, may still end well: it passes, or it only is not known how it ended.
    pub fn is_passing(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Transient | ErrorKind::CommitUnknown)
    }

    /// Of several failures the one that decides how a command ends, by [rank](ErrorKind::rank).
    pub fn worst(errors: impl IntoIterator<Item = Self>) -> Option<Self> {
        errors.into_iter().min_by_key(|e| e.kind().rank())
    }

    /// The sentence, then every cause, each on a line of its own.
    pub fn chain(&self) -> Vec<String> {
        let mut lines = vec![self.to_string()];
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            let text = cause.to_string();
            // Libraries often repeat their cause in their own text: say it once.
            if lines.last().is_none_or(|last| !last.contains(&text)) {
                lines.push(text);
            }
            next = cause.source();
        }
        lines
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        if !self.0.context.is_empty() {
            let objects: Vec<String> = self.0.context.iter().map(|(what, which)| format!("{what} {which}")).collect();
            write!(f, " ({})", objects.join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.chain().join(": "))?;
        if let Some(hint) = &self.0.hint {
            write!(f, "; hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|s| s as _)
    }
}

impl From<datafusion::error::DataFusionError> for Error {
    /// Finds the transload or store error inside the engine's layers, so that kind and hint survive.
    fn from(error: datafusion::error::DataFusionError) -> Self {
        use datafusion::error::DataFusionError as D;
        match error {
            D::External(inner) => match inner.downcast::<Error>() {
                Ok(own) => *own,
                Err(inner) => match inner.downcast::<D>() {
                    Ok(nested) => Self::from(*nested),
                    Err(other) => Self::internal("a library call failed").because(other),
                },
            },
            D::Context(_, inner) => Self::from(*inner),
            D::Shared(inner) => match std::sync::Arc::try_unwrap(inner) {
                Ok(inner) => Self::from(inner),
                Err(shared) => Self::behind(&shared),
            },
            D::ArrowError(inner, _) => Self::from(*inner),
            D::ParquetError(inner) => match *inner {
                parquet_error if is_external(&parquet_error) => from_parquet_external(parquet_error),
                other => Self::config("the Parquet data cannot be read").because(other),
            },
            D::ObjectStore(inner) => Self::from(*inner),
            D::ResourcesExhausted(what) => Self::no_memory(what),
            other => Self::internal("the query engine failed").because(other),
        }
    }
}

impl Error {
    fn no_memory(what: String) -> Self {
        Self::config("the memory limit is too small for this work")
            .because(what)
            .hint("raise --memory, or lower --parallel")
    }

    /// The same error as one that others hold too, with its causes as text.
    fn behind(shared: &datafusion::error::DataFusionError) -> Self {
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(shared);
        while let Some(cause) = next {
            if let Some(Self(own)) = cause.downcast_ref::<Self>() {
                let (message, context, hint) = (own.message.clone(), own.context.clone(), own.hint.clone());
                let source = own.source.as_ref().map(|s| s.to_string().into());
                return Self(Box::new(Inner { kind: own.kind, message, context, hint, source }));
            }
            next = cause.source();
        }
        match shared.find_root() {
            datafusion::error::DataFusionError::ResourcesExhausted(what) => Self::no_memory(what.clone()),
            _ => Self::internal(shared.to_string()),
        }
    }
}

fn is_external(error: &parquet::errors::ParquetError) -> bool {
    matches!(error, parquet::errors::ParquetError::External(_))
}

fn from_parquet_external(error: parquet::errors::ParquetError) -> Error {
    match error {
        parquet::errors::ParquetError::External(inner) => match inner.downcast::<object_store::Error>() {
            Ok(store) => Error::from(*store),
            Err(inner) => match inner.downcast::<Error>() {
                Ok(own) => *own,
                Err(other) => Error::config("the Parquet data cannot be read").because(other),
            },
        },
        other => Error::config("the Parquet data cannot be read").because(other),
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        match error {
            arrow::error::ArrowError::ExternalError(inner) => match inner.downcast::<Error>() {
                Ok(own) => *own,
                Err(other) => Self::internal("a columnar operation failed").because(other),
            },
            other => Self::internal("a columnar operation failed").because(other),
        }
    }
}

impl From<object_store::Error> for Error {
    fn from(error: object_store::Error) -> Self {
        Self::of_store(&error)
    }
}

impl Error {
    /// What a store's error means, for one that is only the cause of another.
    pub fn of_store(error: &object_store::Error) -> Self {
        crate::store::explain(error)
    }

    pub(crate) fn from_io_kind(kind: std::io::ErrorKind) -> Self {
        use std::io::ErrorKind as K;
        match kind {
            K::StorageFull | K::QuotaExceeded | K::FileTooLarge => {
                Self::transient("there is no room left where the data goes")
                    .hint("free some space, then `transload resume` continues this run")
            }
            K::PermissionDenied | K::ReadOnlyFilesystem => {
                Self::config("access was refused").hint("check the owner and the mode of the folder")
            }
            K::NotFound => Self::config("there is no such file"),
            K::AlreadyExists | K::NotADirectory | K::IsADirectory | K::InvalidInput | K::InvalidFilename => {
                Self::config("the path cannot be used")
            }
            _ => Self::transient("reading or writing failed"),
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::from_io_kind(error.kind()).because(error)
    }
}

impl From<Error> for datafusion::error::DataFusionError {
    fn from(error: Error) -> Self {
        Self::External(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_survives_the_query_engine_with_kind_and_hint() {
        let own = Error::config("no").with("table", "t").hint("do");
        let wrapped = datafusion::error::DataFusionError::from(own).context("while planning");
        let back = Error::from(wrapped);
        assert_eq!(back.kind(), ErrorKind::Config);
        assert_eq!(back.hint_text(), Some("do"));
        assert_eq!(back.to_string(), "no (table t)");
    }

    #[test]
    fn a_failure_for_good_is_worse_than_one_that_passes() {
        let worst = |kinds: &[ErrorKind]| Error::worst(kinds.iter().map(|k| Error::new(*k, "no"))).map(|e| e.kind());
        assert_eq!(worst(&[ErrorKind::Transient, ErrorKind::Config, ErrorKind::Transient]), Some(ErrorKind::Config));
        assert_eq!(worst(&[ErrorKind::Quality, ErrorKind::Internal]), Some(ErrorKind::Internal));
        assert_eq!(worst(&[ErrorKind::Transient]), Some(ErrorKind::Transient));
        assert_eq!(worst(&[]), None);
    }

    #[test]
    fn an_error_that_several_hold_stays_what_it_is() {
        use datafusion::error::DataFusionError as D;
        let own = Error::transient("try later").with("table", "t").hint("wait").because("no answer");
        let shared = std::sync::Arc::new(D::Context("reading".to_string(), Box::new(D::from(own))));
        let error = Error::from(D::Shared(std::sync::Arc::clone(&shared)));
        assert_eq!((error.kind(), error.hint_text()), (ErrorKind::Transient, Some("wait")));
        assert_eq!(error.chain(), ["try later (table t)", "no answer"]);
        let full = std::sync::Arc::new(D::ResourcesExhausted("full".to_string()));
        assert_eq!(Error::from(D::Shared(std::sync::Arc::clone(&full))).kind(), ErrorKind::Config);
        drop((shared, full));
    }

    #[test]
    fn a_full_disk_can_be_tried_again_and_a_closed_folder_cannot() {
        let full = Error::from(std::io::Error::from(std::io::ErrorKind::StorageFull));
        assert_eq!(full.kind().exit_code(), 75);
        let closed = Error::from(std::io::Error::from(std::io::ErrorKind::PermissionDenied));
        assert_eq!(closed.kind().exit_code(), 3);
    }
}
