//! Providers over REST: what there is, each one's bridge, and the URL of an identity.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json as JsonAnswer,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use streamit_plugin_api::{
    Capabilities, MediaType, PlaybackSource, RenderParam,
    manifest::{ExternalId, Player},
};

use super::{
    AppState,
    client::{Json, Name},
    conditional::is_known,
    error::{Error, ErrorCode},
    rooms::playable,
};
use crate::{
    config::{self, Config},
    providers::{self, Providers},
    rooms::Source,
};

/// A provider as anyone sees it. What its file says is missing if the file cannot be read.
#[derive(Serialize)]
struct ProviderView<'a> {
    id: &'a str,
    state: providers::Status,
    #[serde(flatten)]
    described: Option<Described<'a>>,
}

#[derive(Serialize)]
struct Described<'a> {
    name: &'a str,
    version: &'a str,
    media_types: &'a [MediaType],
    supports_events: bool,
    supports_progress: bool,
    capabilities: Capabilities,
    external_id: &'a ExternalId,
    player: Player,
    render_params: &'a [RenderParam],
    bridge_url: String,
    /// Where the bridge's other files are, by their names.
    assets: BTreeMap<&'a str, String>,
    /// What the bridge is told of the configuration.
    settings: &'a Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    media_type: MediaType,
    external_id: String,
    #[serde(default)]
    season: Option<u32>,
    #[serde(default)]
    episode: Option<u32>,
}

#[derive(Serialize)]
struct Resolved {
    source: PlaybackSource,
    embed_url: String,
}

pub(super) async fn list(State(config): State<Arc<Config>>, State(providers): State<Providers>) -> Response {
    #[derive(Serialize)]
    struct ProviderList<'a> {
        providers: Vec<ProviderView<'a>>,
    }
    let providers = providers.list();
    let list = ProviderList { providers: providers.values().map(|provider| view(&config.server, provider)).collect() };
    ([(header::CACHE_CONTROL, "no-cache")], JsonAnswer(list)).into_response()
}

pub(super) async fn show(
    State(config): State<Arc<Config>>,
    State(providers): State<Providers>,
    Name(id): Name,
) -> Result<Response, Error> {
    let provider = find(&providers, &id)?;
    Ok(([(header::CACHE_CONTROL, "no-cache")], JsonAnswer(view(&config.server, &provider))).into_response())
}

/// The bridge, for ever under its hash; under the bare address only for as long as it is checked.
pub(super) async fn bridge(
    State(providers): State<Providers>,
    Name(id): Name,
    uri: axum::http::Uri,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let provider = find(&providers, &id)?;
    let Some(description) = provider.description() else {
        return Err(Error::new(ErrorCode::ProviderNotReady, format!("the provider `{id}` has no readable library")));
    };
    let etag = format!("\"{}\"", description.bridge_hash);
    if is_known(&headers, &etag, None)? {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    let is_by_hash = uri.query().and_then(|query| query.strip_prefix("v=")) == Some(&description.bridge_hash);
    let cache = if is_by_hash { "public, max-age=31536000, immutable" } else { "no-cache" };
    let mut response = description.bridge.clone().into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(header::ETAG, HeaderValue::from_str(&etag).expect("hexadecimal digits in quotes"));
    Ok(response)
}

pub(super) async fn resolve(
    State(state): State<AppState>,
    Name(id): Name,
    Json(identity): Json<Identity>,
) -> Result<impl IntoResponse, Error> {
    find(&state.providers, &id)?;
    if state.providers.is_private(&id) {
        let detail = "this provider's addresses are told in the rooms that play them, and nowhere else";
        return Err(Error::new(ErrorCode::PrivateProvider, detail));
    }
    let Identity { media_type, external_id, season, episode } = identity;
    let source = Source { provider: id, media_type, external_id, season, episode };
    let embed_url = playable(&state, &source).await?;
    Ok(JsonAnswer(Resolved { source: state.providers.describe(&source), embed_url }))
}

pub(super) fn find(providers: &Providers, id: &str) -> Result<Arc<providers::Provider>, Error> {
    let detail = || format!("no provider `{id}` is configured; GET /api/v1/providers lists them");
    providers.get(id).ok_or_else(|| Error::new(ErrorCode::ProviderNotFound, detail()))
}

fn view<'a>(server: &config::Server, provider: &'a providers::Provider) -> ProviderView<'a> {
    // Why it is not ready may name files, pins and settings: that is for the operator.
    let (state, _) = provider.status();
    let described = provider.description().map(|description| {
        let manifest = &description.manifest;
        let mut player = manifest.player.clone();
        // A page compares origins, so what comes from configuration is filled in here.
        // Where those lead on to only the page's policy has to know.
        player.redirect_origins.clear();
        let embed_origins = provider.embed_origins();
        if !embed_origins.is_empty() {
            player.embed_origins = embed_origins;
        }
        player.connect_origins.clone_from(&provider.published.connect_origins);
        player.settings.clear();
        let place = format!("{}/api/v1/providers/{}", server.public_path(), provider.id);
        let assets = description.assets.own().iter();
        let assets =
            assets.map(|asset| (asset.name.as_str(), format!("{place}/assets/{}/{}", asset.hash(), asset.name)));
        Described {
            name: &manifest.name,
            version: &description.version,
            media_types: &manifest.media_types,
            supports_events: manifest.supports_events,
            supports_progress: manifest.supports_progress,
            capabilities: manifest.capabilities,
            external_id: &manifest.external_id,
            player,
            render_params: &manifest.render_params,
            bridge_url: format!("{place}/bridge.js?v={}", description.bridge_hash),
            assets: assets.collect(),
            settings: &provider.published.settings,
        }
    });
    ProviderView { id: &provider.id, state, described }
}
