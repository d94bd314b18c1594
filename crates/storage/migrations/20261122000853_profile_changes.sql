-- Those who follow profiles are told what was taken out of them, too.
CREATE TABLE removed_profile_fields (
    user_nid BIGINT NOT NULL REFERENCES users,
    field TEXT NOT NULL,
    stream_position BIGINT NOT NULL,
    PRIMARY KEY (user_nid, field)
);
COMMENT ON TABLE removed_profile_fields IS 'Fields that a profile had and no longer has.';
CREATE INDEX removed_profile_fields_by_position ON removed_profile_fields (stream_position);
CREATE INDEX profile_fields_by_position ON profile_fields (stream_position);
