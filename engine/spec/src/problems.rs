//! Everything that is wrong with a set of files, and how it is shown.

use std::collections::BTreeSet;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet, normalize_untrusted_str};
use serde::Serialize;
use transload_core::{Node, Problem, Span};

use crate::yaml;

/// The files that were read, in the order of their [`Span::file`](transload_core::Span::file).
#[derive(Debug, Clone, Default)]
pub struct Files(Vec<(String, String)>);

impl Files {
    /// Adds a file and returns its number.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> u32 {
        self.0.push((name.into(), text.into()));
        (self.0.len() - 1) as u32
    }

    /// Adds a YAML document and reads it as a spanned tree, under the budgets of a pipeline.
    ///
    /// # Errors
    /// What is wrong with it, at its place.
    pub fn parse(&mut self, name: impl Into<String>, text: &str) -> Result<Node, Vec<Problem>> {
        let file = self.add(name, text);
        yaml::parse(text, file)
    }

    /// Puts stars over a place, so that no problem that is found there or beside it shows what it holds.
    pub(crate) fn hide(&mut self, place: Span) {
        let Some((_, text)) = self.0.get_mut(place.file as usize) else { return };
        let (start, end) = (place.start as usize, place.start as usize + place.len as usize);
        if let (Some(before), Some(secret), Some(behind)) = (text.get(..start), text.get(start..end), text.get(end..)) {
            let stars: String = secret.bytes().map(|b| if b == b'\n' { '\n' } else { '*' }).collect();
            *text = format!("{before}{stars}{behind}");
        }
    }

    fn get(&self, file: u32) -> (&str, &str) {
        self.0.get(file as usize).map_or(("", ""), |(name, text)| (name, text))
    }
}

/// Problems with the files they were found in. Never empty when returned as an error.
#[derive(Debug, Clone, Default)]
pub struct Problems {
    /// The files.
    pub files: Files,
    /// The problems, sorted by place.
    pub list: Vec<Problem>,
}

/// More than this many are counted, not shown.
const SHOWN: usize = 50;

impl Problems {
    /// Sorts the problems by place and drops repetitions: a setting in `defaults` is wrong once, however many tables
    /// take it over. What is said of a placeholder follows from another problem, and is dropped too.
    pub fn new(mut files: Files, mut list: Vec<Problem>) -> Self {
        list.retain(|p| !p.span.is_placeholder());
        list.iter().filter(|p| p.is_secret).for_each(|p| files.hide(p.span));
        let mut seen = BTreeSet::new();
        list.retain(|p| seen.insert((p.span, p.message.clone(), p.hint.clone())));
        list.sort_by_key(|p| (p.span.file, p.span.start, p.span.line));
        Self { files, list }
    }

    /// Text for a person: sentence, place, the lines concerned and the hint of every problem.
    pub fn render(&self, styled: bool) -> String {
        let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        for problem in self.list.iter().take(SHOWN) {
            let (name, text) = self.files.get(problem.span.file);
            let mut group =
                Level::ERROR.primary_title(problem.message.as_str()).elements(None::<annotate_snippets::Message<'_>>);
            let window = window(text, problem);
            if !name.is_empty() {
                group = group.element(
                    Snippet::source(window.text)
                        .path(name)
                        .line_start(window.line)
                        .annotation(AnnotationKind::Primary.span(window.start..window.end)),
                );
            }
            if let Some(hint) = &problem.hint {
                group = group.element(Level::HELP.with_name("hint").message(normalize_untrusted_str(hint)));
            }
            out.push_str(&renderer.render(&[group]));
            out.push_str("\n\n");
        }
        if self.list.len() > SHOWN {
            out.push_str(&format!("… and {} more\n", self.list.len() - SHOWN));
        }
        out
    }

    /// The same for a program.
    pub fn to_json(&self) -> serde_json::Value {
        #[derive(Serialize)]
        struct Row<'a> {
            file: &'a str,
            line: u32,
            column: u32,
            message: &'a str,
            hint: Option<&'a str>,
        }
        let rows = self.list.iter().map(|p| Row {
            file: self.files.get(p.span.file).0,
            line: p.span.line,
            column: p.span.column,
            message: &p.message,
            hint: p.hint.as_deref(),
        });
        serde_json::json!(rows.collect::<Vec<_>>())
    }
}

/// The lines around a problem, short enough to print whatever the file holds.
struct Window<'a> {
    text: &'a str,
    line: usize,
    start: usize,
    end: usize,
}

fn window<'a>(text: &'a str, problem: &Problem) -> Window<'a> {
    const WIDEST: usize = 400;
    let floor = |mut at: usize| {
        at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = floor(problem.span.start as usize);
    let line_start = text[..start].rfind('\n').map_or(0, |i| i + 1).max(floor(start.saturating_sub(WIDEST)));
    let line_end = text[start..].find('\n').map_or(text.len(), |i| start + i).min(floor(start + WIDEST));
    let end = floor(start + problem.span.len as usize).clamp(start, line_end);
    Window {
        text: &text[line_start..line_end],
        line: problem.span.line.max(1) as usize,
        start: start - line_start,
        end: end - line_start,
    }
}
