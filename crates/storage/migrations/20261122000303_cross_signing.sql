-- Cross-signing: the keys with which users vouch for their own devices and for each other, and what was signed with them.

CREATE TABLE cross_signing_keys (
    user_nid BIGINT NOT NULL REFERENCES users,
    usage SMALLINT NOT NULL,
    public_key TEXT NOT NULL,
    key TEXT NOT NULL,
    PRIMARY KEY (user_nid, usage)
);
COMMENT ON COLUMN cross_signing_keys.usage IS '0 master, 1 self-signing, 2 user-signing.';
COMMENT ON COLUMN cross_signing_keys.public_key IS 'Unpadded base64, as in the id of the key.';
COMMENT ON COLUMN cross_signing_keys.key IS 'Canonical JSON as uploaded, with the signatures that came with it.';

CREATE TABLE device_signatures (
    device_nid BIGINT NOT NULL REFERENCES device_keys ON DELETE CASCADE,
    signing_key_id TEXT NOT NULL,
    signature TEXT NOT NULL,
    PRIMARY KEY (device_nid, signing_key_id)
);
COMMENT ON TABLE device_signatures IS 'Signatures of device keys by the self-signing key of the same user.';

CREATE TABLE master_key_signatures (
    target_nid BIGINT NOT NULL REFERENCES users,
    public_key TEXT NOT NULL,
    signer_nid BIGINT NOT NULL REFERENCES users,
    signing_key_id TEXT NOT NULL,
    signature TEXT NOT NULL,
    PRIMARY KEY (target_nid, public_key, signer_nid, signing_key_id)
);
COMMENT ON TABLE master_key_signatures IS 'Signatures of master keys: by devices of the same user, which everybody sees, and by user-signing keys of others, which only the signer sees.';

CREATE TABLE user_signature_changes (
    signer_nid BIGINT NOT NULL REFERENCES users,
    target_nid BIGINT NOT NULL REFERENCES users,
    position BIGINT NOT NULL,
    PRIMARY KEY (signer_nid, target_nid)
);
COMMENT ON TABLE user_signature_changes IS 'When a user last signed the key of another, so that their other devices fetch the signature.';
