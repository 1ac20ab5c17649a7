data "aws_caller_identity" "this" {}

data "aws_partition" "this" {}

locals {
  full_name = "atoll-${var.environment}-${var.name}"
  account   = data.aws_caller_identity.this.account_id
  partition = data.aws_partition.this.partition

  public_name = "${var.name}.${var.public_domain}"
  zone_name   = "${var.name}.${var.domain}"

  # The same in every region, and what `atoll node` listens on by default.
  ports = {
    public    = 8080
    peer      = 8443
    admin     = 9901
    agent     = 8444
    state     = 6379
    cache     = var.region.cache.managed ? 6379 : 6382 # beside the state store, on its machine
    dashboard = 8265
    serve     = 8000
  }

  # What runs on which machine: roles of `atoll node`, and the secrets that they read.
  machines = {
    head = {
      instance_types = [var.region.head.instance_type]
      roles          = ["gcs-store", "head"]
      names          = ["head"]
      volume_gib     = var.region.head.volume_gib
      own_secrets    = ["ray-token", "gcs-password", "admin-token", "state-password", "cache-password", "tls"]
      shared_secrets = ["agent-token", "session-key", "tls-ca"]
      drain_s        = 0
    }
    workers = {
      instance_types = var.region.workers.instance_types
      roles          = ["worker"]
      names          = []
      volume_gib     = 0
      own_secrets    = ["ray-token", "state-password", "cache-password", "tls"]
      shared_secrets = ["agent-token", "session-key", "tls-ca"]
      drain_s        = 100 # a spot instance has 120 s from its notice to its end
    }
    gateways = {
      instance_types = [var.region.gateways.instance_type]
      roles          = ["gateway"]
      names          = []
      volume_gib     = 0
      own_secrets    = ["ray-token", "admin-token", "state-password", "cache-password", "tls"]
      shared_secrets = ["peer-token", "tls-ca"]
      drain_s        = 90
    }
    state = {
      instance_types = [var.region.state.instance_type]
      roles          = concat(["state", "agent"], var.region.cache.managed ? [] : ["cache"])
      names          = concat(["state", "agent"], var.region.cache.managed ? [] : ["cache"])
      volume_gib     = var.region.state.volume_gib
      own_secrets    = ["ray-token", "admin-token", "state-password", "cache-password", "tls"]
      shared_secrets = ["agent-token", "session-key", "tls-ca"]
      drain_s        = 0
    }
  }
  stateful = { for kind, machine in local.machines : kind => machine if machine.volume_gib > 0 }
}
