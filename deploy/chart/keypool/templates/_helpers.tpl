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

{{- define "keypool.jobSelector" -}}
app.kubernetes.io/name: keypool
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: job
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

{{- /* What every pod mounts. The argument is a list of the root context and the ConfigMap's name. */}}
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

{{- /* Certificates and keys, which the service serves with and the doctor looks at. Migrations need none. */}}
{{- define "keypool.serviceVolumes" -}}
{{- with .Values.database }}
{{- if .passwordKey }}
- name: database-password
  secret:
    secretName: {{ .existingSecret }}
    defaultMode: 0440
    items: [{key: {{ .passwordKey }}, path: password}]
{{- end }}
{{- end }}
{{- with .Values.tls }}
{{- if .secretName }}
- name: tls
  projected:
    defaultMode: 0440
    sources:
      - secret:
          name: {{ .secretName }}
          items: [{key: tls.crt, path: tls.crt}, {key: tls.key, path: tls.key}]
      {{- if .clientCertificates }}
      - secret:
          name: {{ .clientCaSecret | default .secretName }}
          items: [{key: {{ .clientCaKey }}, path: ca.crt}]
      {{- end }}
{{- end }}
{{- end }}
{{- with .Values.jwks }}
{{- if .configMap }}
- name: jwks
  configMap:
    name: {{ .configMap }}
    items: [{key: {{ .key }}, path: jwks.json}]
{{- end }}
{{- end }}
{{- end }}

{{- define "keypool.serviceVolumeMounts" -}}
{{- if .Values.database.passwordKey }}
- {name: database-password, mountPath: /etc/keypool/database-password, readOnly: true}
{{- end }}
{{- if .Values.tls.secretName }}
- {name: tls, mountPath: /etc/keypool/tls, readOnly: true}
{{- end }}
{{- if .Values.jwks.configMap }}
- {name: jwks, mountPath: /etc/keypool/jwks, readOnly: true}
{{- end }}
{{- end }}

{{- /*
The variables of a process. The argument is a list of the root context, and a Secret's name and key. The file is named here and not
by --config, so that whatever `kubectl exec` runs beside the process has the same configuration.
*/}}
{{- define "keypool.env" -}}
{{- $values := (first .).Values -}}
- {name: KEYPOOL_CONFIG, value: /etc/keypool/config/keypool.toml}
- name: KEYPOOL_DATABASE_URL
  valueFrom: {secretKeyRef: {name: {{ index . 1 }}, key: {{ index . 2 }}}}
- {name: KEYPOOL_LOG, value: {{ $values.logLevel | quote }}}
{{- with $values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* The variables of a process that has the role that serves. */}}
{{- define "keypool.serviceEnv" -}}
{{- include "keypool.env" (list . .Values.database.existingSecret .Values.database.key) }}
{{- if .Values.database.passwordKey }}
- {name: KEYPOOL_DATABASE_PASSWORD_FILE, value: /etc/keypool/database-password/password}
{{- end }}
{{- end }}

{{- /* The labels of the pods of Jobs. The argument is a list of the root context and the labels that select them. */}}
{{- define "keypool.jobPodMetadata" -}}
{{- $values := (first .).Values -}}
labels:
  {{- last . | nindent 2 }}
  {{- with $values.migration.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $values.migration.podAnnotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* What the pods of Jobs have in common, in two halves: before the containers and after the volumes. */}}
{{- define "keypool.jobPod" -}}
restartPolicy: Never
serviceAccountName: {{ .Values.migration.serviceAccountName }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext: {{- include "keypool.podSecurity" . | nindent 2 }}
{{- end }}

{{- /* Of affinity only what says which nodes will do: the rest keeps replicas apart, and would keep a Job from the last free node. */}}
{{- define "keypool.jobScheduling" -}}
{{- with .Values.affinity.nodeAffinity }}
affinity:
  nodeAffinity: {{- toYaml . | nindent 4 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* The URL of the role that owns the tables: a Secret's name and key. */}}
{{- define "keypool.ownerEnv" -}}
{{- $database := empty .Values.migration.existingSecret | ternary .Values.database .Values.migration }}
{{- include "keypool.env" (list . $database.existingSecret $database.key) }}
{{- end }}
