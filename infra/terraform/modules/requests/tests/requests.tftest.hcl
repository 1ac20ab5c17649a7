# Of each pair one asks.

mock_provider "aws" {}

variables {
  name   = "eu-west"
  vpc_id = "vpc-1"
  peers = {
    ap-northeast = { aws_region = "ap-northeast-1", vpc_id = "vpc-3" }
    us-east      = { aws_region = "us-east-1", vpc_id = "vpc-2" }
  }
}

run "the_first_in_the_alphabet_asks" {
  assert {
    condition     = keys(aws_vpc_peering_connection.to) == ["us-east"]
    error_message = "eu-west asks us-east, and is asked by ap-northeast."
  }
}
