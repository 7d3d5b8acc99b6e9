#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <cstring>
#include "tests/vmm/soft/decode/reading.h"
using namespace dejavm::soft;
static std::mt19937_64 g(1);
std::vector<uint8_t> gen(){
  std::vector<uint8_t> b; unsigned k=g()%4;
  if(k){ static const uint8_t P[]={0x66,0x66,0x67,0xf2,0xf3,0xf0,0x26,0x2e,0x36,0x3e,0x64,0x65};
    unsigned n=g()%4; if(g()%2) n=0; for(unsigned i=0;i<n;i++) b.push_back(P[g()%12]); if(g()%3==0) b.push_back(0x40|(g()%16));
    switch(g()%5){case 0:break;case 1:case 2:b.push_back(0xf);break;case 3:b.push_back(0xf);b.push_back(0x38);break;case 4:b.push_back(0xf);b.push_back(0x3a);}
  }
  while(b.size()<24) b.push_back(g());
  return b;
}
int main(int c,char**v){
  size_t N=c>1?atol(v[1]):200000;
  std::map<std::string,std::pair<size_t,std::string>> diffs;
  for(size_t i=0;i<N;i++){ auto b=gen(); for(CodeMode m:{CodeMode::k16,CodeMode::k32,CodeMode::k64}){
    Decoded d; auto s=decode(b,m,d); auto a=ask_zydis(b,m,false); std::string key;
    bool ok=s==DecodeStatus::kOk&&d.op!=Op::kInvalid;
    if((s==DecodeStatus::kTooLong)!=a.too_long) key="too long "+std::to_string(a.too_long)+(a.outside.size()?" "+a.outside:"");
    else if(ok!=a.reading.has_value()) { key="valid "+std::to_string(ok)+" "+(ok?std::string(op_name(d.op)):a.reading->mnemonic)+" outside "+a.outside; }
    else if(ok){ auto r=reading_of(d); key=difference(r,*a.reading); if(key.size()){ key=r.mnemonic+" "+key; auto p=key.find("0x"); if(p!=std::string::npos) key.resize(p);} }
    if(key.size()){ auto&e=diffs[key]; if(!e.first++) { auto t=ask_zydis(b,m,true); e.second=std::string(mode_name(m))+": "+to_hex(std::span(b).first(t.reading?t.reading->len:d.len?d.len:15))+" | "+t.text+" | "+(ok?to_text(reading_of(d)):"")+" | "+(t.reading?to_text(*t.reading):""); } }
  }}
  for(auto&[k,e]:diffs) printf("%6zu %-50s %s\n",e.first,k.c_str(),e.second.c_str());
}
