{{- define "chatchit.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* 40 characters, so that what is appended still fits 63. */}}
{{- define "chatchit.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "chatchit.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "chatchit.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "chatchit.secret" -}}
{{- default (include "chatchit.fullname" .) .Values.secret.name -}}
{{- end -}}

{{- define "chatchit.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "chatchit.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* (list $ "gateway"): what a selector may say; it never changes during the life of a release. */}}
{{- define "chatchit.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "chatchit.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "chatchit.labels" -}}
{{- $root := index . 0 -}}
{{ include "chatchit.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- end -}}

{{/* (list $ "gateway"): the image of a program. */}}
{{- define "chatchit.image" -}}
{{- $root := index . 0 -}}
{{- $program := index $root.Values (index . 1) -}}
{{- with $root.Values.image.registry }}{{ . }}/{{ end -}}
{{ $program.repository }}:{{ default $root.Chart.AppVersion $root.Values.image.tag }}
{{- end -}}
