//! What a text is searched for: a substring in any case, or a regular expression.
//!
//! PostgreSQL and the evaluator must match the same texts. So a pattern is one tree, and each side gets it in its own
//! dialect with nothing left to a locale: cases are spelled out as classes, by Unicode's simple folding.

use std::sync::{Arc, OnceLock};

use regex_automata::meta::Regex;
use regex_syntax::ast::{
    self, Ast, ClassPerlKind, ClassSet, ClassSetItem, GroupKind, RepetitionKind, RepetitionRange,
};
use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Dot, Hir, HirKind, Look, Repetition};

use super::Complaint;
use super::operand::searchable;

/// Longest regular expression, in bytes.
pub const MAX_REGEX_BYTES: usize = 256;
/// Longest text that is searched for, in bytes.
pub const MAX_TEXT_BYTES: usize = 1024;
/// PostgreSQL's own limit of `{n}`.
const MAX_REPEATS: u32 = 255;
const MAX_EMPTY_REPEATS: u32 = 10;
/// Characters and classes after repetitions are written out: what a matcher has to hold.
const MAX_STATES: usize = 1_000;

#[derive(Clone, Debug)]
pub struct Pattern {
    source: String,
    is_regex: bool,
    hir: Hir,
    /// Compiled by the first who matches with it.
    matcher: Arc<OnceLock<Option<Regex>>>,
}

/// Two patterns are the same if they were written the same.
impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        (&self.source, self.is_regex) == (&other.source, other.is_regex)
    }
}

impl Eq for Pattern {}

impl Pattern {
    /// Texts with this somewhere in them, in upper or lower case.
    pub(super) fn containing(text: &str) -> Result<Self, Complaint> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(Complaint::new(format!(
                "a text to search for is at most {MAX_TEXT_BYTES} bytes long"
            )));
        }
        if text.is_empty() {
            return Err(
                Complaint::new("the text to search for is empty").hint("whether there is one says `exists`")
            );
        }
        let text = searchable(text);
        let hir = Hir::concat(text.chars().map(in_any_case).collect());
        Ok(Self { source: text, is_regex: false, hir, matcher: Arc::default() })
    }

    pub(super) fn regex(text: &str) -> Result<Self, Complaint> {
        if text.len() > MAX_REGEX_BYTES {
            return Err(Complaint::new(format!(
                "a regular expression is at most {MAX_REGEX_BYTES} bytes long"
            )));
        }
        let parsed = ast::parse::ParserBuilder::new().nest_limit(32).build().parse(text);
        let parsed = parsed.map_err(|error| {
            let (start, end) = (error.span().start.offset, error.span().end.offset);
            Complaint::new(format!("this is not a regular expression: {}", error.kind()))
                .span(start, end - start)
        })?;
        let hir = translate(&parsed)?;
        if states(&hir) > MAX_STATES {
            return Err(Complaint::new(format!(
                "this regular expression is too large: more than {MAX_STATES} characters with its repetitions written out"
            )));
        }
        Ok(Self { source: text.to_owned(), is_regex: true, hir, matcher: Arc::default() })
    }

    /// As it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    pub(super) fn is_regex(&self) -> bool {
        self.is_regex
    }

    pub fn is_match(&self, text: &str) -> bool {
        // Whatever is small enough compiles: see the tests.
        let matcher = self.matcher.get_or_init(|| Regex::builder().build_from_hir(&self.hir).ok());
        matcher.as_ref().is_some_and(|matcher| matcher.is_match(text))
    }

    /// As an advanced regular expression of PostgreSQL's.
    pub(super) fn postgres(&self) -> String {
        let mut out = String::new();
        write(&mut out, &self.hir);
        out
    }
}

fn in_any_case(letter: char) -> Hir {
    let mut class = ClassUnicode::new([ClassUnicodeRange::new(letter, letter)]);
    // Fails without the tables of the feature `unicode-case` only.
    let _ = class.try_case_fold_simple();
    Hir::class(Class::Unicode(class))
}

fn translate(ast: &Ast) -> Result<Hir, Complaint> {
    let all = |asts: &[Ast]| asts.iter().map(translate).collect::<Result<Vec<_>, _>>();
    Ok(match ast {
        Ast::Empty(_) => Hir::empty(),
        Ast::Literal(literal) => character(literal.c),
        Ast::Dot(_) => Hir::dot(Dot::AnyCharExceptLF),
        Ast::Assertion(assertion) => match assertion.kind {
            ast::AssertionKind::StartLine => Hir::look(Look::Start),
            ast::AssertionKind::EndLine => Hir::look(Look::End),
            _ => return Err(unsupported(&assertion.span, "only the assertions ^ and $")),
        },
        Ast::ClassPerl(perl) => class(perl_class(perl), &perl.span)?,
        Ast::ClassBracketed(bracketed) => class(bracketed_class(bracketed)?, &bracketed.span)?,
        Ast::Repetition(repetition) => repeat(repetition)?,
        Ast::Group(group) => match &group.kind {
            GroupKind::CaptureIndex(_) => translate(&group.ast)?,
            GroupKind::NonCapturing(flags) if flags.items.is_empty() => translate(&group.ast)?,
            _ => {
                return Err(unsupported(
                    &group.span,
                    "only the groups (…) and (?:…), without flags or names",
                ));
            }
        },
        Ast::Alternation(branches) => Hir::alternation(all(&branches.asts)?),
        Ast::Concat(parts) => Hir::concat(all(&parts.asts)?),
        Ast::Flags(flags) => return Err(unsupported(&flags.span, "no flags; [aA] is an a in either case")),
        Ast::ClassUnicode(named) => return Err(unsupported(&named.span, "no classes by Unicode property")),
    })
}

/// What PostgreSQL's texts cannot have is U+FFFD in what was recorded, too.
fn character(letter: char) -> Hir {
    Hir::literal(searchable(letter.encode_utf8(&mut [0; 4])).into_bytes())
}

fn repeat(repetition: &ast::Repetition) -> Result<Hir, Complaint> {
    let (min, max) = match &repetition.op.kind {
        RepetitionKind::ZeroOrOne => (0, Some(1)),
        RepetitionKind::ZeroOrMore => (0, None),
        RepetitionKind::OneOrMore => (1, None),
        RepetitionKind::Range(RepetitionRange::Exactly(times)) => (*times, Some(*times)),
        RepetitionKind::Range(RepetitionRange::AtLeast(min)) => (*min, None),
        RepetitionKind::Range(RepetitionRange::Bounded(min, max)) => (*min, Some(*max)),
    };
    if min.max(max.unwrap_or(0)) > MAX_REPEATS {
        let what = format!("at most {MAX_REPEATS} repetitions");
        return Err(unsupported(&repetition.op.span, &what));
    }
    if matches!(&*repetition.ast, Ast::Assertion(_)) {
        return Err(unsupported(&repetition.span, "no repetition of ^ and $"));
    }
    let sub = Box::new(translate(&repetition.ast)?);
    // PostgreSQL would connect each of them with all others.
    if min.max(max.unwrap_or(0)) > MAX_EMPTY_REPEATS && sub.properties().minimum_len() == Some(0) {
        let what = format!("at most {MAX_EMPTY_REPEATS} repetitions of what can be empty");
        return Err(unsupported(&repetition.op.span, &what));
    }
    // Whether as much or as little as can be is taken makes no difference to whether there is a match.
    Ok(Hir::repetition(Repetition { min, max, greedy: true, sub }))
}

fn class(class: ClassUnicode, span: &ast::Span) -> Result<Hir, Complaint> {
    match class.ranges().last() {
        Some(last) if last.end() > '\0' => Ok(Hir::class(Class::Unicode(class))),
        _ => Err(unsupported(span, "no class that matches nothing")),
    }
}

fn bracketed_class(bracketed: &ast::ClassBracketed) -> Result<ClassUnicode, Complaint> {
    let mut class = match &bracketed.kind {
        ClassSet::Item(item) => class_item(item)?,
        ClassSet::BinaryOp(operation) => {
            return Err(unsupported(&operation.span, "no && -- ~~ within brackets; \\& is the character"));
        }
    };
    if bracketed.negated {
        class.negate();
    }
    Ok(class)
}

fn class_item(item: &ClassSetItem) -> Result<ClassUnicode, Complaint> {
    let range = |start, end| ClassUnicode::new([ClassUnicodeRange::new(start, end)]);
    Ok(match item {
        ClassSetItem::Empty(_) => ClassUnicode::empty(),
        ClassSetItem::Literal(literal) => range(literal.c, literal.c),
        ClassSetItem::Range(written) => range(written.start.c, written.end.c),
        ClassSetItem::Perl(perl) => perl_class(perl),
        ClassSetItem::Bracketed(nested) => bracketed_class(nested)?,
        ClassSetItem::Union(union) => {
            let mut all = ClassUnicode::empty();
            for item in &union.items {
                all.union(&class_item(item)?);
            }
            all
        }
        ClassSetItem::Ascii(named) => return Err(unsupported(&named.span, "no named classes")),
        ClassSetItem::Unicode(named) => {
            return Err(unsupported(&named.span, "no classes by Unicode property"));
        }
    })
}

/// Of ASCII only.
fn perl_class(perl: &ast::ClassPerl) -> ClassUnicode {
    let ranges: &[(char, char)] = match perl.kind {
        ClassPerlKind::Digit => &[('0', '9')],
        ClassPerlKind::Space => &[('\t', '\r'), (' ', ' ')],
        ClassPerlKind::Word => &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')],
    };
    let ranges = ranges.iter().map(|&(start, end)| ClassUnicodeRange::new(start, end));
    let mut class = ClassUnicode::new(ranges);
    if perl.negated {
        class.negate();
    }
    class
}

fn unsupported(span: &ast::Span, supported: &str) -> Complaint {
    Complaint::new(format!("regular expressions here have {supported}"))
        .span(span.start.offset, span.end.offset - span.start.offset)
}

fn states(hir: &Hir) -> usize {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) | HirKind::Class(_) => 1,
        HirKind::Literal(literal) => literal.0.len(),
        HirKind::Repetition(repetition) => {
            let times = repetition.min.max(repetition.max.unwrap_or(0)).max(1);
            states(&repetition.sub).saturating_mul(times as usize).saturating_add(1)
        }
        HirKind::Capture(capture) => states(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().fold(1, |sum, part| sum.saturating_add(states(part)))
        }
    }
}

fn write(out: &mut String, hir: &Hir) {
    match hir.kind() {
        HirKind::Empty => out.push_str("(?:)"),
        // Of UTF-8, as it was made from characters.
        HirKind::Literal(literal) => String::from_utf8_lossy(&literal.0).chars().for_each(|c| escape(out, c)),
        HirKind::Class(Class::Unicode(class)) => write_class(out, class),
        HirKind::Class(Class::Bytes(_)) => unreachable!("all classes are of characters"),
        HirKind::Look(Look::Start) => out.push('^'),
        HirKind::Look(_) => out.push('$'),
        HirKind::Repetition(repetition) => {
            group(out, |out| write(out, &repetition.sub));
            out.push_str(&match (repetition.min, repetition.max) {
                (min, None) => format!("{{{min},}}"),
                (min, Some(max)) => format!("{{{min},{max}}}"),
            });
        }
        HirKind::Capture(capture) => group(out, |out| write(out, &capture.sub)),
        HirKind::Concat(parts) => parts.iter().for_each(|part| match part.kind() {
            HirKind::Alternation(_) => group(out, |out| write(out, part)),
            _ => write(out, part),
        }),
        HirKind::Alternation(branches) => {
            for (n, branch) in branches.iter().enumerate() {
                if n > 0 {
                    out.push('|');
                }
                write(out, branch);
            }
        }
    }
}

fn group(out: &mut String, inside: impl FnOnce(&mut String)) {
    out.push_str("(?:");
    inside(out);
    out.push(')');
}

fn write_class(out: &mut String, class: &ClassUnicode) {
    out.push('[');
    for range in class.ranges() {
        // No text of PostgreSQL's has U+0000, and none of its expressions can.
        let (start, end) = (range.start().max('\u{1}'), range.end());
        if end < start {
            continue;
        }
        escape(out, start);
        if start != end {
            out.push('-');
            escape(out, end);
        }
    }
    out.push(']');
}

/// Means the character itself, within brackets and outside.
fn escape(out: &mut String, letter: char) {
    let code = u32::from(letter);
    match letter {
        'a'..='z' | 'A'..='Z' | '0'..='9' => out.push(letter),
        _ if code <= 0xffff => out.push_str(&format!("\\u{code:04x}")),
        _ => out.push_str(&format!("\\U{code:08x}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pattern: Result<Pattern, Complaint>) -> String {
        match pattern {
            Ok(pattern) => pattern.postgres(),
            Err(Complaint { span, detail, .. }) => {
                let at = span.map(|s| format!("{}+{} ", s.start, s.length)).unwrap_or_default();
                format!("error {at}{detail}")
            }
        }
    }

    #[test]
    fn a_substring_is_spelled_out_in_all_cases() {
        assert_eq!(shown(Pattern::containing("tls 1")), r"[Tt][Ll][Ss\u017f]\u00201");
        assert_eq!(shown(Pattern::containing("Ж😀")), r"[\u0416\u0436]\U0001f600");
        assert!(Pattern::containing("straße").unwrap().is_match("Die STRAẞE"));
        assert!(!Pattern::containing("straße").unwrap().is_match("Die STRASSE"), "one letter folds to one");
        assert!(Pattern::containing("a.b*").unwrap().is_match("xA.B*y"));
        assert!(!Pattern::containing("a.b").unwrap().is_match("axb"));
        assert!(shown(Pattern::containing("")).starts_with("error"));
    }

    #[test]
    fn a_regular_expression_keeps_its_meaning() {
        assert_eq!(shown(Pattern::regex(r"^(ab|c)+\d{2,3}?$")), r"^(?:ab|c){1,}(?:[0-9]){2,3}$");
        assert_eq!(shown(Pattern::regex(r"[^a]")), r"[\u0001-\u0060b-\U0010ffff]");
        assert_eq!(shown(Pattern::regex(r"(?:a|)b")), r"(?:a|(?:))b");
        assert_eq!(
            shown(Pattern::regex("***=a")),
            "error 0+0 this is not a regular expression: repetition operator missing expression"
        );
        assert_eq!(shown(Pattern::regex(".")), r"[\u0001-\u0009\u000b-\U0010ffff]");
        let version = Pattern::regex(r"v\d+\.[0-9]+").unwrap();
        assert!(version.is_match("now at v10.3") && !version.is_match("v1x3") && !version.is_match("v١.٢"));
    }

    #[test]
    fn what_only_one_side_knows_is_refused_with_its_place() {
        for (text, place) in [
            (r"\bx", "0+2"),
            (r"a(?i)b", "1+4"),
            (r"(?i:a)", "0+6"),
            (r"(?P<n>a)", "0+8"),
            (r"x\p{L}", "1+5"),
            (r"[[:alpha:]]", "1+9"),
            (r"[a&&b]", "1+4"),
            (r"a{256}", "1+5"),
            (r"^*", "0+2"),
            (r"(a", "0+1"),
            (r"[\x00]", "0+6"),
            (r"a(.?){255}", "5+5"),
        ] {
            let shown = shown(Pattern::regex(text));
            assert!(shown.starts_with(&format!("error {place} ")), "{text}: {shown}");
        }
        assert!(shown(Pattern::regex(r"(a{200}){200}")).contains("too large"));
        assert!(shown(Pattern::regex(&"a".repeat(257))).contains("256"));
    }

    #[test]
    fn whatever_is_accepted_can_be_matched() {
        for text in [r"(?:[^a]{20}){40}", r".{255}", r"(?:\W{3}|\S{4}){50}", "(|a){3}", "()"] {
            let pattern = Pattern::regex(text).unwrap();
            pattern.is_match("");
            assert!(pattern.matcher.get().unwrap().is_some(), "{text}");
        }
    }
}
