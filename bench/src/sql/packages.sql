/* keypool-bench: packages */
-- Packages of users that never uploaded any: the same for the same numbers, and different for any other.
CREATE SCHEMA bench;
CREATE FUNCTION bench.package(
    prefix text, first_user bigint, last_user bigint, first_copy bigint, last_copy bigint, size integer, made_at timestamptz
) RETURNS TABLE (
    bucket smallint, user_id text, key_package_ref bytea, init_key bytea, key_package bytea, signature_key bytea,
    not_after timestamptz
) LANGUAGE sql STABLE AS $$
    SELECT u.bucket, u.user_id, p.key_package_ref, sha256('init key' || p.key_package_ref),
           substring(p.key_package_ref || decode(repeat(md5(u.user_id), size / 16 + 1), 'hex') FOR size),
           u.hash, made_at + interval '30 days' * (1 + get_byte(u.hash, 2) / 256.0) -- a device makes its packages together
    FROM (
        SELECT ((get_byte(hash, 0) * 256 + get_byte(hash, 1)) % 1024)::smallint AS bucket, user_id, hash
        FROM (
            SELECT user_id, sha256(convert_to(user_id, 'UTF8')) AS hash
            FROM generate_series(first_user, last_user) AS number,
                 LATERAL (SELECT prefix || lpad(number::text, greatest(6, length(number::text)), '0') AS user_id) AS i
        ) AS hashed
        ORDER BY bucket, user_id -- the indexes' order, which is several times as fast to insert
    ) AS u
    CROSS JOIN LATERAL (
        SELECT sha256(convert_to(u.user_id || '/' || copy, 'UTF8')) AS key_package_ref
        FROM generate_series(first_copy, last_copy) AS copy
        OFFSET 0 -- keeps the planner from turning the loop around: a user's packages lie together, as after an upload
    ) AS p
$$;
-- What servers that delete on read keep.
CREATE TABLE bench.delete_on_read (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id     text        NOT NULL,
    device_id   text        NOT NULL,
    key_package bytea       NOT NULL,
    created_at  timestamptz NOT NULL
);
CREATE INDEX delete_on_read_device ON bench.delete_on_read (user_id, device_id);
