-- Rooms: what is durable about a watch party, and nothing else. Portable SQL: SQLite and Postgres run this same file.
--
-- A room stores the identity of what it plays, never a URL, a query parameter, a preference or a position: those are
-- derived or live. The constraints make a row impossible that no request could have made.
CREATE TABLE rooms (
    code                   TEXT    NOT NULL CONSTRAINT rooms_pkey PRIMARY KEY,
    title                  TEXT,                     -- null: the room has none
    visibility             TEXT    NOT NULL,
    host_key_sha256        TEXT    NOT NULL,         -- the key itself is shown once and never stored
    key_generation         BIGINT  NOT NULL,         -- grows when the key is replaced; older ones lose authority
    playback_provider      TEXT    NOT NULL,
    playback_external_id   TEXT    NOT NULL,
    playback_media_type    TEXT    NOT NULL,
    playback_season        BIGINT,                   -- null exactly for a movie
    playback_episode       BIGINT,                   -- null exactly for a movie
    revision               BIGINT  NOT NULL,         -- grows with each change of source: live state keeps the newest
    created_at_ms          BIGINT  NOT NULL,
    closed_at_ms           BIGINT,                   -- null: the room is open

    CONSTRAINT rooms_code_has_six_characters CHECK (length(code) = 6),
    CONSTRAINT rooms_title_is_short CHECK (title IS NULL OR length(title) BETWEEN 1 AND 120),
    CONSTRAINT rooms_visibility_is_known CHECK (visibility IN ('public', 'unlisted')),
    CONSTRAINT rooms_host_key_is_a_hash CHECK (length(host_key_sha256) = 64),
    CONSTRAINT rooms_provider_is_an_id CHECK (length(playback_provider) BETWEEN 2 AND 32),
    CONSTRAINT rooms_external_id_is_given CHECK (length(playback_external_id) BETWEEN 1 AND 1024),
    CONSTRAINT rooms_media_shape CHECK (
        (playback_media_type = 'movie' AND playback_season IS NULL AND playback_episode IS NULL)
        OR (playback_media_type = 'tv'
            AND playback_season IS NOT NULL AND playback_season BETWEEN 0 AND 4294967295
            AND playback_episode IS NOT NULL AND playback_episode BETWEEN 0 AND 4294967295)
    ),
    CONSTRAINT rooms_counters_start_at_one CHECK (key_generation >= 1 AND revision >= 1)
);

-- Serves the sweep at start-up: which rooms are still open.
CREATE INDEX rooms_open ON rooms (created_at_ms) WHERE closed_at_ms IS NULL;
