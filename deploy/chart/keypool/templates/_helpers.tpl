{{- define "keypool.fullname" -}}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride }}
{{- else if contains "keypool" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}{{ printf "%s-keypool" .Release.Name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "keypool.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- define "keypool.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (.Values.serviceAccount.create | ternary (include "keypool.fullname" .) "default") }}
{{- end }}

{{- /* What never changes of an installation: Deployments, Services and budgets find its pods by it. */}}
{{- define "keypool.selector" -}}
app.kubernetes.io/name: keypool
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: service
{{- end }}

{{- define "keypool.commonLabels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "keypool.labels" -}}
{{ include "keypool.selector" . }}
{{ include "keypool.commonLabels" . }}
{{- end }}

{{- define "keypool.migrationSelector" -}}
app.kubernetes.io/name: keypool
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: migration
{{- end }}

{{- define "keypool.migrationLabels" -}}
{{ include "keypool.migrationSelector" . }}
{{ include "keypool.commonLabels" . }}
{{- end }}

{{- /* Pod Security "restricted", in two halves: the pod's and the container's. */}}
{{- define "keypool.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "keypool.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* What the service and the migration mount. The argument is a list of the root context and the ConfigMap's name. */}}
{{- define "keypool.volumes" -}}
{{- $values := (first .).Values -}}
- name: config
  configMap: {name: {{ last . }}}
{{- if $values.database.caSecret }}
- name: database-ca
  secret:
    secretName: {{ $values.database.caSecret }}
    items: [{key: {{ $values.database.caKey }}, path: ca.crt}]
{{- end }}
{{- with $values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "keypool.volumeMounts" -}}
- {name: config, mountPath: /etc/keypool/config, readOnly: true}
{{- if .Values.database.caSecret }}
- {name: database-ca, mountPath: /etc/keypool/database, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* The variables of a process. The argument is a list of the root context, and a Secret's name and key. */}}
{{- define "keypool.env" -}}
{{- $values := (first .).Values -}}
- name: KEYPOOL_DATABASE_URL
  valueFrom: {secretKeyRef: {name: {{ index . 1 }}, key: {{ index . 2 }}}}
- {name: KEYPOOL_LOG, value: {{ $values.logLevel | quote }}}
{{- with $values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}
