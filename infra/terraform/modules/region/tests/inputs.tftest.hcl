# What the module refuses, each for its own reason.

mock_provider "aws" {
  mock_data "aws_availability_zones" {
    defaults = { names = ["eu-west-1c", "eu-west-1a", "eu-west-1b"] }
  }
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
}

variables {
  environment   = "production"
  name          = "eu-west"
  public_domain = "shop.example.com"
  release       = { version = "0.6.0", requirements_sha256 = "f7a4b8f5a2f0a0d1d3f4a5b6c7d8e9f00112233445566778899aabbccddeeff0" }
  region = {
    aws_region = "eu-west-1", title = "Ireland", latitude = 53.35, longitude = -6.26, zone = "eu", cidr = "10.1.0.0/16"
  }
}

run "an_environment_with_a_hyphen" {
  command = plan
  variables {
    environment = "pro-duction"
  }
  expect_failures = [var.environment]
}

run "an_environment_whose_name_aws_keeps" {
  command = plan
  variables {
    environment = "internal"
  }
  expect_failures = [var.environment]
}

run "a_name_too_long_for_a_load_balancer" {
  command = plan
  variables {
    name = "ap-southeast-22"
  }
  expect_failures = [var.name]
}

run "a_public_domain_of_one_label" {
  command = plan
  variables {
    public_domain = "shop"
  }
  expect_failures = [var.public_domain]
}

run "a_latitude_beyond_the_pole" {
  command = plan
  variables {
    region = { aws_region = "eu-west-1", title = "Ireland", latitude = 91, longitude = -6.26, zone = "eu", cidr = "10.1.0.0/16" }
  }
  expect_failures = [var.region]
}

run "addresses_that_are_no_16" {
  command = plan
  variables {
    region = { aws_region = "eu-west-1", title = "Ireland", latitude = 53.35, longitude = -6.26, zone = "eu", cidr = "10.1.0.0/20" }
  }
  expect_failures = [var.region]
}

run "addresses_by_another_than_the_first" {
  command = plan
  variables {
    region = { aws_region = "eu-west-1", title = "Ireland", latitude = 53.35, longitude = -6.26, zone = "eu", cidr = "10.1.2.0/16" }
  }
  expect_failures = [var.region]
}

run "more_zones_than_there_are" {
  command = plan
  variables {
    region = { aws_region = "eu-west-1", title = "Ireland", latitude = 53.35, longitude = -6.26, zone = "eu", cidr = "10.1.0.0/16", availability_zones = 4 }
  }
  expect_failures = [data.aws_availability_zones.here]
}

run "one_zone_alone" {
  command = plan
  variables {
    region = { aws_region = "eu-west-1", title = "Ireland", latitude = 53.35, longitude = -6.26, zone = "eu", cidr = "10.1.0.0/16", availability_zones = 1 }
  }
  expect_failures = [var.region]
}

run "an_unknown_way_out" {
  command = plan
  variables {
    region = { aws_region = "eu-west-1", title = "Ireland", latitude = 53.35, longitude = -6.26, zone = "eu", cidr = "10.1.0.0/16", nat = "two" }
  }
  expect_failures = [var.region]
}

run "more_workers_at_least_than_at_most" {
  command = plan
  variables {
    region = { aws_region = "eu-west-1", title = "Ireland", latitude = 53.35, longitude = -6.26, zone = "eu", cidr = "10.1.0.0/16", workers = { minimum = 4, maximum = 3 } }
  }
  expect_failures = [var.region]
}

run "more_than_all_on_spot" {
  command = plan
  variables {
    region = { aws_region = "eu-west-1", title = "Ireland", latitude = 53.35, longitude = -6.26, zone = "eu", cidr = "10.1.0.0/16", workers = { spot_percent = 101 } }
  }
  expect_failures = [var.region]
}

run "spot_of_one_type" {
  command = plan
  variables {
    region = { aws_region = "eu-west-1", title = "Ireland", latitude = 53.35, longitude = -6.26, zone = "eu", cidr = "10.1.0.0/16", workers = { instance_types = ["m7g.xlarge"] } }
  }
  expect_failures = [var.region]
}

run "workers_of_two_architectures" {
  command = plan
  variables {
    region = { aws_region = "eu-west-1", title = "Ireland", latitude = 53.35, longitude = -6.26, zone = "eu", cidr = "10.1.0.0/16", workers = { instance_types = ["m7g.xlarge", "m7i.xlarge", "m6i.xlarge"] } }
  }
  expect_failures = [var.region]
}

run "one_gateway" {
  command = plan
  variables {
    region = { aws_region = "eu-west-1", title = "Ireland", latitude = 53.35, longitude = -6.26, zone = "eu", cidr = "10.1.0.0/16", gateways = { minimum = 1 } }
  }
  expect_failures = [var.region]
}

run "a_volume_too_small" {
  command = plan
  variables {
    region = { aws_region = "eu-west-1", title = "Ireland", latitude = 53.35, longitude = -6.26, zone = "eu", cidr = "10.1.0.0/16", state = { volume_gib = 1 } }
  }
  expect_failures = [var.region]
}

run "a_cache_of_seven" {
  command = plan
  variables {
    region = { aws_region = "eu-west-1", title = "Ireland", latitude = 53.35, longitude = -6.26, zone = "eu", cidr = "10.1.0.0/16", cache = { nodes = 7 } }
  }
  expect_failures = [var.region]
}

run "a_peer_with_the_same_addresses" {
  command = plan
  variables {
    peers = { us-east = { cidr = "10.1.0.0/16" } }
  }
  expect_failures = [var.peers]
}

run "itself_as_a_peer" {
  command = plan
  variables {
    peers = { eu-west = { cidr = "10.2.0.0/16" } }
  }
  expect_failures = [var.peers]
}

run "a_release_without_a_hash" {
  command = plan
  variables {
    release = { version = "0.6.0", requirements_sha256 = "latest" }
  }
  expect_failures = [var.release]
}

run "an_index_with_a_password" {
  command = plan
  variables {
    release = { version = "0.6.0", requirements_sha256 = "f7a4b8f5a2f0a0d1d3f4a5b6c7d8e9f00112233445566778899aabbccddeeff0", index_url = "https://me:secret@index.example.com/" }
  }
  expect_failures = [var.release]
}

run "an_image_by_pattern" {
  command = plan
  variables {
    image = { name = "al2023-ami-*" }
  }
  expect_failures = [var.image]
}

run "half_a_revision" {
  command = plan
  variables {
    secrets_revision = 1.5
  }
  expect_failures = [var.secrets_revision]
}

run "a_retention_unknown_to_cloudwatch" {
  command = plan
  variables {
    log_retention_days = 42
  }
  expect_failures = [var.log_retention_days]
}
