{{- /* keypool.toml: what the chart knows, and over it what .Values.config says. */}}
{{- define "keypool.config" -}}
{{- $config := dict
  "listen" "0.0.0.0:50051"
  "admin_listen" "0.0.0.0:9090"
  "log_format" "json"
  "drain_timeout" (printf "%ds" (int .Values.shutdown.drainSeconds))
  "migrate_on_start" false }}
{{- if .Values.tls.secretName }}
{{- $tls := dict "certificate" "/etc/keypool/tls/tls.crt" "key" "/etc/keypool/tls/tls.key" }}
{{- with .Values.tls.clientCertificates }}
{{- $tls = merge $tls (dict "client_ca" "/etc/keypool/tls/ca.crt" "client_certificates" .) }}
{{- end }}
{{- $_ := set $config "tls" $tls }}
{{- end }}
{{- if .Values.database.caSecret }}
{{- $_ := set $config "database_tls" (dict "ca" "/etc/keypool/database/ca.crt") }}
{{- end }}
{{- if .Values.jwks.configMap }}
{{- if ((.Values.config.auth).tokens).jwks }}
{{- fail "jwks.configMap and config.auth.tokens.jwks both say where the keys of tokens are: set one of them" }}
{{- end }}
{{- $_ := set $config "auth" (dict "tokens" (dict "jwks" "/etc/keypool/jwks/jwks.json")) }}
{{- end }}
{{- include "keypool.toml" (list (list) (mergeOverwrite $config (deepCopy .Values.config))) }}
{{- end }}

{{- /*
A map as TOML. The argument is a list of the table's path, which is a list of keys, and the map. Not by toToml: Helm takes every
number for a float, and toToml writes 32 as 32.0. JSON's strings, numbers and arrays are TOML's too.
*/}}
{{- define "keypool.toml" -}}
{{- $path := first . }}
{{- range $key, $value := last . }}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value) (include "keypool.isTables" $value)) }}
{{ include "keypool.tomlKey" $key }} = {{ toJson $value }}
{{- end }}
{{- end }}
{{- range $key, $value := last . }}
{{- $table := append $path (include "keypool.tomlKey" $key) }}
{{- if kindIs "map" $value }}

[{{ join "." $table }}]
{{- include "keypool.toml" (list $table $value) }}
{{- else if include "keypool.isTables" $value }}
{{- range $value }}

[[{{ join "." $table }}]]
{{- include "keypool.toml" (list $table .) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "keypool.tomlKey" -}}
{{- regexMatch "^[A-Za-z0-9_-]+$" . | ternary . (toJson .) }}
{{- end }}

{{- /* Whether a value is an array of tables. */}}
{{- define "keypool.isTables" -}}
{{- if kindIs "slice" . }}{{ if . }}{{ if kindIs "map" (first .) }}yes{{ end }}{{ end }}{{ end }}
{{- end }}
