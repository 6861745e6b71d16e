//! What an address means to the providers of this server.

use streamit_plugin_api::{
    Rejection,
    links::{Address, Claims},
};

use super::{Providers, description::ProviderError, provider::Provider};
use crate::rooms::Source;

/// What is known of an address.
#[derive(Debug, Default)]
pub struct Understood {
    /// What may be played, in the configuration's order: several providers may play the same.
    pub matches: Vec<Match>,
    /// Whose it is that people cannot have it, and why.
    pub refusal: Option<(String, String)>,
    /// Whose it looks like, and why it is nothing that can be played.
    pub rejection: Option<(String, Rejection)>,
    /// Whose it may be, had that provider answered.
    pub trouble: Option<ProviderError>,
}

/// A provider that plays what is at an address.
#[derive(Debug)]
pub struct Match {
    pub source: Source,
    pub start_ms: u64,
    /// The provider's name.
    pub name: String,
    /// Whether the address left the season or the episode open.
    pub is_guess: bool,
}

impl Providers {
    /// Asks each provider whose rules know the address whether it plays what that may mean.
    pub async fn understand(&self, address: &Address) -> Understood {
        let mut understood = Understood::default();
        for provider in self.list().values() {
            self.ask(provider, address, &mut understood).await;
        }
        understood
    }

    async fn ask(&self, provider: &Provider, address: &Address, into: &mut Understood) {
        let Claims { claims, refusal } = provider.links.claims(address);
        let mut rejected = None;
        for claim in claims {
            match self.embed_url(&provider.id, &claim.media).await {
                Ok(url) if claim.holds(address, &url) => {
                    let (name, is_guess) = (provider.name(), claim.is_guess);
                    // Nobody's player would go there.
                    let start_ms = if self.abilities(&provider.id).seek { claim.start_ms } else { 0 };
                    let source = Source::of(&provider.id, claim.media);
                    into.matches.push(Match { source, start_ms, name, is_guess });
                    return;
                }
                Ok(_) => {}
                Err(ProviderError::Rejected(rejection)) => rejected = rejected.or(Some(rejection)),
                Err(trouble) => {
                    // What it says next might be about another identity than the one that was meant.
                    into.trouble.get_or_insert(trouble);
                    return;
                }
            }
        }
        match (refusal, rejected) {
            (Some(reason), _) if into.refusal.is_none() => into.refusal = Some((provider.name(), reason.to_owned())),
            (None, Some(rejection)) if into.rejection.is_none() => into.rejection = Some((provider.name(), rejection)),
            _ => {}
        }
    }

    /// The names of the providers that understand any address.
    pub fn whose_links(&self) -> Vec<String> {
        let providers = self.list();
        let takers = providers.values().filter(|provider| provider.is_ready() && !provider.links.is_empty());
        takers.map(|provider| provider.name()).collect()
    }
}
