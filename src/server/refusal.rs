//! Requests that are refused before anybody looks at what they ask for.

/// What is wrong with the head of a request, or with the way it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not HTTP, or not well-formed.
    Malformed(&'static str),
    /// Its length is stated in a way that two readers could understand differently.
    Framing(&'static str),
    /// `Host` is missing, repeated, or names no host.
    Host(&'static str),
    /// A version of HTTP that is not spoken here.
    Version,
    /// The request line and the header fields are too long together.
    HeadTooLarge,
    TooManyFields,
    /// The head did not arrive in time.
    Slow,
}
