//! Registering handlers of ruma's request types under all of their paths.

use axum::{
    Extension, Router,
    extract::{FromRequest, FromRequestParts},
    handler::Handler,
    response::IntoResponse,
    routing::{MethodFilter, MethodRouter, on},
};
use http::Method;
use ruma::api::{IncomingRequest, Metadata, path_builder::PathBuilder};

use crate::{RouteOptions, request::RequestArgs};

/// A handler whose last argument is [`Args`](crate::Args), or another of [`RequestArgs`]. `X` is the tuple of its arguments, which the compiler finds out.
pub trait RumaHandler<X, S>: Sized {
    /// The type of the request.
    type Request: IncomingRequest;

    /// The handler behind its method.
    fn into_method_router(self, filter: MethodFilter) -> MethodRouter<S>;
}

macro_rules! ruma_handler {
    ($($argument:ident),*) => {
        impl<F, Fut, Res, S, L, $($argument,)*> RumaHandler<($($argument,)* L,), S> for F
        where
            F: FnOnce($($argument,)* L) -> Fut + Clone + Send + Sync + 'static,
            Fut: Future<Output = Res> + Send,
            Res: IntoResponse,
            S: Clone + Send + Sync + 'static,
            L: RequestArgs + FromRequest<S> + Send + 'static,
            $($argument: FromRequestParts<S> + Send + 'static,)*
        {
            type Request = L::Request;

            fn into_method_router(self, filter: MethodFilter) -> MethodRouter<S> {
                on(filter, self)
            }
        }
    };
}

ruma_handler!();
ruma_handler!(A1);
ruma_handler!(A1, A2);
ruma_handler!(A1, A2, A3);
ruma_handler!(A1, A2, A3, A4);
ruma_handler!(A1, A2, A3, A4, A5);
ruma_handler!(A1, A2, A3, A4, A5, A6);

/// Registers handlers of ruma's types on a router.
pub trait RouterExt<S>: Sized {
    /// Registers `handler` for its method under every path of its request type, stable and unstable.
    #[must_use]
    fn ruma_route<H, X>(self, handler: H) -> Self
    where
        H: RumaHandler<X, S> + Clone,
    {
        self.ruma_route_with(RouteOptions::default(), handler)
    }

    /// As [`RouterExt::ruma_route`], with limits of its own.
    #[must_use]
    fn ruma_route_with<H, X>(self, options: RouteOptions, handler: H) -> Self
    where
        H: RumaHandler<X, S> + Clone,
    {
        self.ruma_route_at(<H::Request as Metadata>::PATH_BUILDER.all_paths(), options, handler)
    }

    /// Registers `handler` under these paths instead of those of its request type. The path's parameters are given to
    /// the request in order; missing ones at the end are empty.
    #[must_use]
    fn ruma_route_at<'p, H, X>(
        self,
        paths: impl IntoIterator<Item = &'p str>,
        options: RouteOptions,
        handler: H,
    ) -> Self
    where
        H: RumaHandler<X, S> + Clone;

    /// Registers any handler under the method and all paths of ruma's request type `T`, for endpoints whose bodies ruma
    /// reads too strictly or not completely.
    #[must_use]
    fn route_like<T, H, X>(self, options: RouteOptions, handler: H) -> Self
    where
        T: Metadata,
        H: Handler<X, S>,
        X: 'static;
}

impl<S: Clone + Send + Sync + 'static> RouterExt<S> for Router<S> {
    fn ruma_route_at<'p, H, X>(
        mut self,
        paths: impl IntoIterator<Item = &'p str>,
        options: RouteOptions,
        handler: H,
    ) -> Self
    where
        H: RumaHandler<X, S> + Clone,
    {
        let filter = method_filter(&<H::Request as Metadata>::METHOD);
        for path in paths {
            let route = handler.clone().into_method_router(filter).layer(Extension(options));
            self = self.route(path, route);
        }
        self
    }

    fn route_like<T, H, X>(mut self, options: RouteOptions, handler: H) -> Self
    where
        T: Metadata,
        H: Handler<X, S>,
        X: 'static,
    {
        let filter = method_filter(&T::METHOD);
        for path in T::PATH_BUILDER.all_paths() {
            self = self.route(path, on(filter, handler.clone()).layer(Extension(options)));
        }
        self
    }
}

/// The filter for a method. ruma's endpoints use only these five.
fn method_filter(method: &Method) -> MethodFilter {
    match *method {
        Method::POST => MethodFilter::POST,
        Method::PUT => MethodFilter::PUT,
        Method::DELETE => MethodFilter::DELETE,
        Method::PATCH => MethodFilter::PATCH,
        _ => MethodFilter::GET,
    }
}
