//! The OpenAPI document comes from the code: what an extractor demands, it also says.
//!
//! Deliberately no second list of routes: [`operations!`] registers a handler and lets every
//! argument of its signature describe itself. Invariant: an access rule that is enforced is
//! documented, because both come from the same type.

use axum::extract::{Extension, State};
use axum::handler::Handler;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::SchemaType;
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{
    Content, ObjectBuilder, Ref, RefOr, Required, ResponseBuilder, Type,
    extensions::ExtensionsBuilder,
};
use utoipa_axum::router::UtoipaMethodRouter;

use crate::extract::{Json, Path, Query};

/// The extension of an operation that names who may call it.
pub const ACCESS_EXTENSION: &str = "x-access";

/// What an argument of a handler adds to the description of its operation.
pub trait Describe {
    /// Adds it.
    fn describe(_operation: &mut Operation) {}
}

impl<T> Describe for Json<T> {}
impl<T> Describe for Path<T> {}
impl<T> Describe for Query<T> {}
impl<T> Describe for State<T> {}
impl<T> Describe for Extension<T> {}
impl Describe for http::HeaderMap {}
impl Describe for axum::body::Body {}

/// The arguments of a handler, as axum's `Handler` knows them.
pub trait DescribeAll {
    /// Lets each argument describe itself.
    fn describe_all(operation: &mut Operation);
}

impl DescribeAll for ((),) {
    fn describe_all(_operation: &mut Operation) {}
}

macro_rules! describe_all {
    ($($argument:ident),+) => {
        impl<M, $($argument: Describe),+> DescribeAll for (M, $($argument,)+) {
            fn describe_all(operation: &mut Operation) {
                $($argument::describe(operation);)+
            }
        }
    };
}

describe_all!(A);
describe_all!(A, B);
describe_all!(A, B, C);
describe_all!(A, B, C, D);
describe_all!(A, B, C, D, E);
describe_all!(A, B, C, D, E, F);

/// Lets a handler's signature describe its operations; [`operations!`] calls it.
pub fn describe<H, T, S>(
    (schemas, mut paths, router): UtoipaMethodRouter<S>,
    _handler: &H,
) -> UtoipaMethodRouter<S>
where
    H: Handler<T, S>,
    T: DescribeAll,
{
    for item in paths.paths.values_mut() {
        for operation in operations_of(item) {
            T::describe_all(operation);
            add_problem_response(operation);
        }
    }
    (schemas, paths, router)
}

/// Registers handlers with their paths and the access rules of their signatures.
#[macro_export]
macro_rules! operations {
    ($($handler:path),+ $(,)?) => {{
        let router = ::utoipa_axum::router::OpenApiRouter::default();
        $(let router = router.routes(
            $crate::openapi::describe(::utoipa_axum::routes!($handler), &$handler),
        );)+
        router
    }};
}

/// The operations of one path, whatever their method.
pub fn operations_of(item: &mut utoipa::openapi::PathItem) -> impl Iterator<Item = &mut Operation> {
    [
        &mut item.get,
        &mut item.put,
        &mut item.post,
        &mut item.delete,
        &mut item.patch,
    ]
    .into_iter()
    .filter_map(Option::as_mut)
}

/// Says who may call: the security scheme and an extension that tools and tests can read.
pub fn require(operation: &mut Operation, scheme: &str, access: serde_json::Value) {
    operation
        .security
        .get_or_insert_default()
        .push(SecurityRequirement::new(scheme, Vec::<String>::new()));
    let extension = ExtensionsBuilder::new()
        .add(ACCESS_EXTENSION, access)
        .build();
    operation
        .extensions
        .get_or_insert_default()
        .merge(extension);
}

/// A header that an argument reads.
#[expect(missing_debug_implementations, reason = "`Required` has none")]
pub struct Header<'a> {
    /// As it is written.
    pub name: &'a str,
    /// Whether a request without it is refused.
    pub required: Required,
    /// What it says.
    pub description: &'a str,
    /// What it may be, as a regular expression (ECMA-262).
    pub pattern: &'a str,
    /// One that is right.
    pub example: &'a str,
}

/// Describes a header.
pub fn header(operation: &mut Operation, header: Header<'_>) {
    let text = ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::String))
        .pattern(Some(header.pattern));
    let parameter: Parameter = ParameterBuilder::new()
        .name(header.name)
        .parameter_in(ParameterIn::Header)
        .required(header.required)
        .description(Some(header.description))
        .schema(Some(text))
        .example(Some(header.example.into()))
        .build();
    operation
        .parameters
        .get_or_insert_default()
        .push(RefOr::T(parameter));
}

fn add_problem_response(operation: &mut Operation) {
    let problem = Content::new(Some(Ref::from_schema_name("ProblemDocument")));
    let response = ResponseBuilder::new()
        .description("A problem; its `code` says which.")
        .content("application/problem+json", problem)
        .build();
    operation
        .responses
        .responses
        .insert("default".to_owned(), RefOr::T(response));
}
