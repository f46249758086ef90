//! Why a request has no principal. Nothing here tells which part of a credential was wrong.

/// Small and `Copy`: requests that waited for the same check share its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    #[error(
        "this request needs a login: send `Authorization: Basic …` (curl: -u name:password) or `Authorization: Bearer evl_…`"
    )]
    Missing,
    #[error("the Authorization header cannot be read: {0}")]
    Malformed(&'static str),
    #[error("the request has more than one Authorization header; send exactly one")]
    Several,
    #[error("the request has more than one X-Tenant header; send at most one")]
    SeveralTenants,
    /// Unknown, wrong, disabled, expired and revoked are one answer.
    #[error("the credentials are not valid")]
    Rejected,
    /// Nothing was looked up for it.
    #[error("too many logins of this name or from this address have failed; retry after {retry_after} s")]
    TooManyFailures { retry_after: u32 },
    #[error("only a superadmin may act in another tenant")]
    OtherTenant,
    #[error("there is no such tenant")]
    NoSuchTenant,
    #[error("too many logins are being checked at this moment; retry after {retry_after} s")]
    Busy { retry_after: u32 },
    #[error("credentials cannot be checked at this moment, because the database does not answer")]
    Unavailable,
}
